// Package substrate_test holds the rules of the house that no compiler checks: who may import whom, and what every
// package owes its readers. It parses the source files and needs nothing else.
package substrate_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "substrate"

// rule says what a package may import.
type rule struct {
	ours    []string // packages of this module, without the module path
	unix    []string // files that may import golang.org/x/sys/unix; "*" for all
	tests   []string // what its tests may import besides
	forTest bool     // may be imported by tests only, unless ours of another rule names it
}

// rules is the table of ARCHITECTURE.md. A new line, or a new name in one, is a change of the design: change both.
var rules = map[string]rule{
	"bench":              {tests: []string{"internal/world"}},
	"cmd/substrate":      {ours: []string{"internal/cli", "internal/prestart"}},
	"cmd/substrate-shim": {ours: []string{"internal/shim", "internal/prestart"}},

	// Level 0
	"fsdiff":             {},
	"trace":              {ours: []string{"fsdiff"}},
	"internal/probe":     {unix: []string{"*"}},
	"internal/config":    {},
	"internal/logs":      {},
	"internal/procstate": {unix: []string{"*"}},
	"internal/redact":    {},
	"internal/version":   {},

	// Level 1
	"internal/prestart":          {ours: []string{"internal/procstate", "internal/redact", "internal/version"}, tests: []string{"trace", "internal/config", "internal/record"}},
	"internal/record":            {ours: []string{"trace", "fsdiff", "internal/config", "internal/logs", "internal/redact"}},
	"internal/capture":           {ours: []string{"internal/record"}, unix: []string{"*"}},
	"internal/metrics":           {ours: []string{"trace"}, tests: []string{"fsdiff"}},
	"internal/tracecheck":        {ours: []string{"trace", "fsdiff"}, forTest: true},
	"internal/world/net/netlink": {unix: []string{"*"}},
	"internal/world/mount":       {ours: []string{"internal/probe"}, unix: []string{"*"}},
	"internal/world/cgroup":      {ours: []string{"internal/probe"}, unix: []string{"*"}},
	"internal/world/net/netns":   {ours: []string{"internal/probe", "internal/world/net/netlink"}, unix: []string{"*"}},
	"internal/world/net/nft":     {ours: []string{"internal/probe", "internal/world/net/netlink"}, unix: []string{"*"}, tests: []string{"internal/world/net/netns", "internal/world/net/netlog"}},
	"internal/world/net/netlog":  {ours: []string{"internal/probe", "internal/world/net/netlink"}, unix: []string{"*"}},
	"internal/world/net/dns":     {ours: []string{"internal/probe"}, unix: []string{"*"}, tests: []string{"internal/world/net/netns", "internal/world/net/netlog", "internal/world/net/netlink", "internal/world/net/nft"}},

	"internal/world/pid1":     {unix: []string{"*"}},
	"internal/world/landlock": {ours: []string{"internal/probe"}, unix: []string{"*"}},

	"internal/world/onhost": {ours: []string{"internal/procstate"}, unix: []string{"*"}},

	// Level 2: the plan itself asks the kernel nothing
	"internal/world/layout": {ours: []string{"internal/world/mount"}, unix: []string{"host.go", "shadow.go"}},

	// Level 3
	"internal/world/worldfs": {
		ours: []string{"fsdiff", "internal/probe", "internal/world/mount", "internal/world/layout", "internal/world/landlock"}, unix: []string{"*"},
	},
	"internal/world/worldinit": {
		ours: []string{
			"internal/world/pid1", "internal/world/mount", "internal/world/cgroup", "internal/world/net/netns", "internal/world/net/nft", "internal/world/net/netlog",
			"internal/world/net/netlink", "internal/world/net/dns",
		},
		unix: []string{"*"},
	},

	// Level 4: knows nothing of spans
	"internal/world": {
		ours: []string{
			"fsdiff", "internal/probe", "internal/procstate", "internal/world/mount", "internal/world/cgroup", "internal/world/net/netns",
			"internal/world/net/nft", "internal/world/net/netlog", "internal/world/net/netlink", "internal/world/net/dns", "internal/world/layout",
			"internal/world/worldfs", "internal/world/pid1", "internal/world/worldinit", "internal/world/onhost", "internal/world/landlock",
		},
		unix: []string{"*"},
	},

	// Level 5
	"internal/shim":   {ours: []string{"trace", "internal/record", "internal/config", "internal/logs", "internal/procstate", "internal/version"}, unix: []string{"*"}},
	"internal/shell":  {ours: []string{"trace", "fsdiff", "internal/record", "internal/capture", "internal/world", "internal/config", "internal/procstate"}, unix: []string{"*"}},
	"internal/replay": {ours: []string{"trace", "fsdiff", "internal/record", "internal/world", "internal/config", "internal/procstate"}, unix: []string{"*"}, tests: []string{"internal/world/net/netlog"}},
	"internal/doctor": {ours: []string{"internal/probe", "internal/world", "internal/world/cgroup"}, unix: []string{"*"}},

	// Level 6
	"internal/cli": {ours: []string{
		"trace", "fsdiff", "internal/config", "internal/logs", "internal/probe", "internal/record", "internal/redact", "internal/capture", "internal/tracecheck", "internal/metrics", "internal/procstate", "internal/version",
		"internal/world", "internal/shell", "internal/shim", "internal/replay", "internal/doctor",
	}, tests: []string{"internal/world/net/netlog"}},

	// For tests
	"internal/testenv": {unix: []string{"*"}, forTest: true},
	"internal/world/worldfs/worldfstest": {
		ours: []string{"fsdiff", "internal/world/worldfs/worldfstest/oracle"}, unix: []string{"*"}, forTest: true,
	},
	"internal/world/worldfs/worldfstest/oracle": {unix: []string{"*"}, forTest: true},
	"internal/world/net/netns/netnstest":        {unix: []string{"*"}, forTest: true},
	"internal/replay/corpus":                    {forTest: true, tests: []string{"internal/redact"}},
}

// heavy are imports that cost start-up time or size; all but the named packages do without them. Tests may have them.
var heavy = map[string][]string{
	"net/http":                   nil,
	"crypto/tls":                 nil,
	"os/user":                    nil, // reads files of the host, and asks more with cgo
	"html/template":              nil,
	"text/template":              nil,
	"github.com/spf13/cobra":     {"internal/cli"},
	"github.com/godbus/dbus/v5":  {"internal/world/cgroup"},
	"github.com/google/nftables": nil, // the rules are bytes that package nft prepares; tests compare
	"github.com/santhosh-tekuri/jsonschema/v6": {"internal/tracecheck"},
	"pgregory.net/rapid":                       nil,
	"testing":                                  {"internal/testenv", "internal/world/worldfs/worldfstest", "internal/world/worldfs/worldfstest/oracle", "internal/world/net/netns/netnstest", "internal/replay/corpus"},
}

// source is one Go file of the module.
type source struct {
	pkg  string // directory, "." for the root
	name string
}

func (s source) path() string { return filepath.Join(s.pkg, s.name) }

func (s source) isTest() bool { return strings.HasSuffix(s.name, "_test.go") }

// sources lists the Go files of this module, without test data and without modules inside.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(".", func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			_, statErr := os.Stat(filepath.Join(path, "go.mod"))
			if path != "." && (statErr == nil || e.Name() == "testdata" || strings.HasPrefix(e.Name(), ".") || strings.HasPrefix(e.Name(), "_")) {
				return filepath.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(path, ".go") {
			all = append(all, source{filepath.Dir(path), e.Name()})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// importsOf returns the import paths of a file.
func importsOf(t *testing.T, s source) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), s.path(), nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, spec := range file.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	return paths
}

// A layer hands a finished value to the next and never reaches back: no file imports beyond the table.
func TestImports(t *testing.T) {
	for _, s := range sources(t) {
		r, known := rules[s.pkg]
		if !known && s.pkg != "." {
			t.Errorf("%s: package %s is not in the table of imports_test.go", s.path(), s.pkg)
			continue
		}
		for _, path := range importsOf(t, s) {
			if why := r.forbids(s, path); why != "" {
				t.Errorf("%s imports %s: %s", s.path(), path, why)
			}
		}
	}
}

// forbids returns why a file may not import path, "" if it may.
func (r rule) forbids(s source, path string) string {
	if where, isHeavy := heavy[path]; isHeavy && !s.isTest() && !slices.Contains(where, s.pkg) {
		return "too heavy for this package; only these may: " + strings.Join(where, ", ")
	}
	if path == "golang.org/x/sys/unix" && !s.isTest() && !slices.Contains(r.unix, "*") && !slices.Contains(r.unix, s.name) {
		return "system calls are made in other packages or files; see the table of imports_test.go"
	}
	ours, isOurs := strings.CutPrefix(path, module+"/")
	if !isOurs || ours == s.pkg || slices.Contains(r.ours, ours) {
		return ""
	}
	switch {
	case s.isTest() && (rules[ours].forTest || slices.Contains(r.tests, ours)):
		return ""
	case rules[ours].forTest:
		return "that package is for tests"
	default:
		return "the table of imports_test.go allows only: " + strings.Join(r.ours, ", ")
	}
}

// The table names no package that is not there, so that it cannot rot.
func TestImportTableIsCurrent(t *testing.T) {
	there := map[string]bool{}
	for _, s := range sources(t) {
		there[s.pkg] = true
	}
	for pkg, r := range rules {
		for _, ours := range r.ours {
			if _, known := rules[ours]; !known {
				t.Errorf("table of imports_test.go: %s may import %s, which has no line", pkg, ours)
			}
		}
		if !there[pkg] && !planned[pkg] {
			t.Errorf("table of imports_test.go: package %s has no Go file", pkg)
		}
	}
}

// planned are packages of the design that later changes fill.
var planned = map[string]bool{"internal/doctor": true}
