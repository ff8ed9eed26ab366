// Package substrate_test holds the rules of the house that no compiler checks: who may import whom,
// and what every package owes its readers. It parses the source files and needs nothing else.
package substrate_test

import (
	"flag"
	"fmt"
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

// module is the path of this module, from go.mod.
var module = func() string {
	text, err := os.ReadFile("go.mod")
	line, _, _ := strings.Cut(string(text), "\n")
	path, found := strings.CutPrefix(line, "module ")
	if err != nil || !found {
		panic(fmt.Sprintf("go.mod begins %q, want the module path: %v", line, err))
	}
	return path
}()

// room is one package: where it stands, what it is for, and what it may import.
type room struct {
	level   int      // it imports only rooms of lower levels
	pkg     string   // its directory
	job     string   // what it does, for the table of ARCHITECTURE.md
	ours    []string // packages of this module that it imports, without the module path
	unix    []string // files that import golang.org/x/sys/unix; "*" for any
	tests   []string // what its tests import besides
	forTest bool     // only tests import it, unless ours of another room names it
}

// house is the table of levels. A new room or a new import is a change of the design. Run
// `go test -run TestLevelTable . -update` to write the table into ARCHITECTURE.md.
var house = []room{
	{level: 0, pkg: "internal/plain", job: "facts and texts that both start routes share; needs no Go runtime"},
	{level: 0, pkg: "fsdiff", job: "PUBLIC: one change of a file, and a list of them as JSON"},
	{level: 0, pkg: "internal/version", job: "the version of the programs"},
	{level: 0, pkg: "internal/logs", job: "SUBSTRATE_LOG: the steps of the program on standard error"},
	{level: 0, pkg: "internal/environ", job: "reads and changes lists of variables, and searches PATH"},
	{level: 0, pkg: "internal/hostfile", job: "locks, private files, files replaced whole, trees removed", unix: []string{"remove.go"}},
	{level: 0, pkg: "internal/probe", job: "asks the host by trying; an answer has a name, a reason and a remedy", unix: []string{"*"}},
	{level: 1, pkg: "internal/config", job: "the environment and every path that depends on it, read once", ours: []string{"internal/plain"}},
	{level: 1, pkg: "internal/procstate", job: "what the caller gave this process, before the Go runtime changes it; starts children", ours: []string{"internal/plain"}},
	{level: 0, pkg: "internal/redact", job: "finds secrets in commands"},
	{level: 1, pkg: "trace", job: "PUBLIC: records, spans, append, read, find; the schema", ours: []string{"fsdiff", "internal/plain"}},
	{level: 2, pkg: "internal/prestart", job: "the plain case of -c and of a shim, before the Go runtime starts", ours: []string{"internal/plain", "internal/procstate", "internal/redact", "internal/version"}, tests: []string{"trace", "internal/config", "internal/record"}},
	{level: 2, pkg: "internal/vault", job: "the secrets that were taken out of spans, beside the trace", ours: []string{"trace", "fsdiff", "internal/hostfile", "internal/redact"}},
	{level: 3, pkg: "internal/record", job: "one execution becomes one span", ours: []string{"trace", "internal/config", "internal/hostfile", "internal/logs", "internal/plain", "internal/redact", "internal/vault"}, tests: []string{"fsdiff"}},
	{level: 2, pkg: "internal/metrics", job: "numbers for Prometheus, computed from the trace", ours: []string{"trace"}, tests: []string{"fsdiff"}},
	{level: 2, pkg: "internal/tracecheck", job: "compares traces with the schemas", ours: []string{"trace", "fsdiff"}, forTest: true},
	{level: 4, pkg: "internal/capture", job: "copies what a command prints, hashes it and keeps its beginning", ours: []string{"internal/procstate", "internal/record"}, unix: []string{"*"}},

	{level: 0, pkg: "internal/world/net/netlink", job: "netlink messages as bytes"},
	{level: 1, pkg: "internal/world/net/netns", job: "addresses, routes and names of network namespaces", ours: []string{"internal/world/net/netlink"}, unix: []string{"*"}},
	{level: 1, pkg: "internal/world/net/nft", job: "firewall rules as a value, and as one netlink batch", ours: []string{"internal/world/net/netlink"}, unix: []string{"*"}, tests: []string{"internal/world/net/netns", "internal/world/net/netlog"}},
	{level: 1, pkg: "internal/world/net/netlog", job: "reads blocked packets from NFLOG", ours: []string{"internal/world/net/netlink"}, unix: []string{"*"}},
	{level: 1, pkg: "internal/world/net/dns", job: "answers every name with NXDOMAIN and remembers it", unix: []string{"*"}, tests: []string{"internal/world/net/netns", "internal/world/net/netlog", "internal/world/net/nft"}},
	{level: 0, pkg: "internal/world/ops", job: "a list of system calls, for a process without a Go runtime", unix: []string{"*"}},
	{level: 0, pkg: "internal/world/seccomp", job: "the filter of system calls of every world", unix: []string{"*"}},
	{level: 1, pkg: "internal/world/mount", job: "mounts as values; one file applies them", ours: []string{"internal/world/ops"}, unix: []string{"*"}},
	{level: 1, pkg: "internal/world/cgroup", job: "cgroups, their limits and their usage", ours: []string{"internal/probe"}, unix: []string{"*"}},
	{level: 1, pkg: "internal/world/landlock", job: "what a command may write to where there are no namespaces", ours: []string{"internal/probe"}, unix: []string{"*"}},
	{level: 2, pkg: "internal/world/onhost", job: "runs a command without namespaces", ours: []string{"internal/environ", "internal/procstate"}, unix: []string{"*"}},
	{level: 2, pkg: "internal/world/layout", job: "decides which directory gets which mount", ours: []string{"internal/world/mount", "internal/world/tree"}, unix: []string{"host.go", "shadow.go"}},
	{level: 3, pkg: "internal/world/boot", job: "what the processes of a world execute until the command", ours: []string{"internal/procstate", "internal/world/mount", "internal/world/net/netlog", "internal/world/ops", "internal/world/seccomp"}, unix: []string{"*"}, tests: []string{"internal/world/net/dns", "internal/world/net/netns", "internal/world/net/nft"}},
	{level: 1, pkg: "internal/world/tree", job: "open directories, attributes, contents; compares two files", ours: []string{"fsdiff", "internal/probe"}, unix: []string{"*"}},
	{level: 3, pkg: "internal/world/upper", job: "what changed in an overlay's upper", ours: []string{"fsdiff", "internal/world/tree"}, unix: []string{"*"}, tests: []string{"internal/world/view/viewtest"}},
	{level: 3, pkg: "internal/world/snapshot", job: "copies a tree, and finds what changed in the copy", ours: []string{"fsdiff", "internal/probe", "internal/world/tree"}, unix: []string{"*"}},
	{level: 4, pkg: "internal/world/view", job: "the strategies: overlay, fuse, copy-diff, direct", ours: []string{
		"fsdiff", "internal/probe", "internal/world/landlock", "internal/world/layout", "internal/world/mount", "internal/world/snapshot", "internal/world/tree", "internal/world/upper",
	}, unix: []string{"*"}},
	{level: 4, pkg: "internal/world/state", job: "names, locks, world.json, roots, gc, removal: what worlds have on the host", ours: []string{"internal/hostfile", "internal/probe", "internal/world/cgroup", "internal/world/net/netns", "internal/world/tree"}, unix: []string{"*"}},
	{level: 5, pkg: "internal/world", job: "Spec, New, Run, Close; chooses the strategy; knows nothing of spans", ours: []string{
		"fsdiff", "internal/environ", "internal/hostfile", "internal/plain", "internal/probe", "internal/procstate", "internal/world/boot", "internal/world/cgroup", "internal/world/landlock", "internal/world/net/dns", "internal/world/net/netlog",
		"internal/world/net/netns", "internal/world/net/nft", "internal/world/onhost", "internal/world/snapshot", "internal/world/state", "internal/world/view",
	}, unix: []string{"*"}, tests: []string{"internal/world/tree"}},

	{level: 6, pkg: "internal/shim", job: "what runs behind the links on PATH; deploys, compares and removes them", ours: []string{"trace", "internal/config", "internal/environ", "internal/hostfile", "internal/logs", "internal/plain", "internal/prestart", "internal/procstate", "internal/record", "internal/version"}, unix: []string{"*"}},
	{level: 6, pkg: "internal/shell", job: "-c, a script, a pipe", ours: []string{"trace", "internal/capture", "internal/config", "internal/environ", "internal/plain", "internal/procstate", "internal/record"}},
	{level: 6, pkg: "internal/replay", job: "plans a replay, compares it with what was recorded", ours: []string{"trace", "fsdiff", "internal/environ", "internal/plain", "internal/record", "internal/world"}, tests: []string{"internal/world/net/netlog"}},
	{level: 7, pkg: "internal/rerun", job: "one recorded run of a plan, on the host or in a world; many replays", ours: []string{
		"trace", "internal/capture", "internal/config", "internal/environ", "internal/logs", "internal/procstate", "internal/record", "internal/redact", "internal/replay", "internal/vault", "internal/world",
	}},
	{level: 7, pkg: "internal/doctor", job: "reports what this host supports, and what would help", ours: []string{"internal/world/landlock", "internal/world/net/netns", "internal/world/view", "internal/probe", "internal/world", "internal/world/cgroup", "internal/world/state"}, unix: []string{"*"}},
	{level: 7, pkg: "internal/show", job: "text of outcomes, spans, trees, worlds and tables; progress", ours: []string{
		"trace", "fsdiff", "internal/plain", "internal/replay", "internal/shim", "internal/world", "internal/world/state",
	}, tests: []string{"internal/world/net/netlog"}},
	{level: 8, pkg: "internal/cli", job: "flags, a call, its result; exit statuses", ours: []string{
		"trace", "fsdiff", "internal/config", "internal/logs", "internal/probe", "internal/record", "internal/capture", "internal/vault", "internal/tracecheck", "internal/metrics", "internal/plain",
		"internal/prestart", "internal/procstate", "internal/version", "internal/world", "internal/world/state", "internal/shell", "internal/shim", "internal/replay", "internal/rerun", "internal/doctor", "internal/show",
	}},
	{level: 9, pkg: "cmd/substrate", job: "main: calls cli, exits with its result", ours: []string{"internal/cli", "internal/prestart"}},
	{level: 9, pkg: "cmd/substrate-shim", job: "main: calls shim, exits with its result", ours: []string{"internal/shim", "internal/prestart"}},

	{level: 0, pkg: "internal/testenv", job: "root, user namespaces and leak checks for tests", unix: []string{"*"}, forTest: true},
	{level: 2, pkg: "internal/world/net/netns/netnstest", job: "a network namespace for a test, and what talks to its kernel", ours: []string{"internal/world/net/netlink", "internal/world/net/netlog"}, unix: []string{"*"}, forTest: true},
	{level: 2, pkg: "internal/world/mount/mounttest", job: "carries out mounts in the process of a test", ours: []string{"internal/world/mount", "internal/world/ops"}, unix: []string{"*"}, forTest: true},
	{level: 0, pkg: "internal/world/view/viewtest/oracle", job: "walks a tree, independently of what it checks", unix: []string{"*"}, forTest: true},
	{level: 1, pkg: "internal/world/view/viewtest", job: "the suite that every strategy must pass", ours: []string{"fsdiff", "internal/world/view/viewtest/oracle"}, unix: []string{"*"}, forTest: true},
	{level: 9, pkg: "internal/replay/corpus", job: "hundreds of snippets, recorded and replayed", forTest: true, tests: []string{"internal/redact"}},
	{level: 9, pkg: "bench", job: "the end-to-end benchmarks", tests: []string{"internal/world"}},
}

// heavy are imports that cost start-up time or size; all but the named packages do without them.
// Tests may have them.
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
	"testing":                                  {"internal/testenv", "internal/world/view/viewtest", "internal/world/view/viewtest/oracle", "internal/world/net/netns/netnstest", "internal/replay/corpus"},
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

// roomOf finds the room of a package.
func roomOf(pkg string) *room {
	for i := range house {
		if house[i].pkg == pkg {
			return &house[i]
		}
	}
	return nil
}

// A room hands a finished value to the next and never reaches back: no file imports beyond the
// table, and the table allows nothing that no file imports.
func TestImports(t *testing.T) {
	used := map[string]map[string]bool{} // by package, what its files import; "test " in front for tests
	for _, s := range sources(t) {
		if s.pkg == "." {
			continue
		}
		r := roomOf(s.pkg)
		if r == nil {
			t.Errorf("%s: package %s is not in the table of imports_test.go", s.path(), s.pkg)
			continue
		}
		if used[s.pkg] == nil {
			used[s.pkg] = map[string]bool{}
		}
		for _, path := range importsOf(t, s) {
			if why := r.forbids(s, path); why != "" {
				t.Errorf("%s imports %s: %s", s.path(), path, why)
			}
			path = strings.TrimPrefix(path, module+"/")
			if s.isTest() {
				path = "test " + path
			} else if path == unixPkg {
				used[s.pkg]["unix "+s.name] = true
			}
			used[s.pkg][path] = true
		}
	}
	for _, r := range house {
		if used[r.pkg] == nil {
			t.Errorf("package %s of the table has no Go file", r.pkg)
		}
		for _, ours := range r.ours {
			if to := roomOf(ours); to == nil || to.level >= r.level {
				t.Errorf("package %s of level %d may import %s, which is not on a lower level", r.pkg, r.level, ours)
			}
			if !used[r.pkg][ours] {
				t.Errorf("package %s may import %s, but does not: take it out of the table", r.pkg, ours)
			}
		}
		for _, ours := range r.tests {
			if !used[r.pkg]["test "+ours] {
				t.Errorf("tests of %s may import %s, but do not: take it out of the table", r.pkg, ours)
			}
		}
		for _, file := range r.unix {
			if file == "*" && !used[r.pkg][unixPkg] || file != "*" && !used[r.pkg]["unix "+file] {
				t.Errorf("package %s may import %s in %s, but does not: take it out of the table", r.pkg, unixPkg, file)
			}
		}
	}
}

const unixPkg = "golang.org/x/sys/unix"

// forbids returns why a file may not import path, "" if it may.
func (r *room) forbids(s source, path string) string {
	if where, isHeavy := heavy[path]; isHeavy && !s.isTest() && !slices.Contains(where, s.pkg) {
		return "too heavy for this package; only these may: " + strings.Join(where, ", ")
	}
	if path == unixPkg && !s.isTest() && !slices.Contains(r.unix, "*") && !slices.Contains(r.unix, s.name) {
		return "system calls are made in other packages or files; see the table of imports_test.go"
	}
	ours, isOurs := strings.CutPrefix(path, module+"/")
	if !isOurs || ours == s.pkg || slices.Contains(r.ours, ours) {
		return ""
	}
	to := roomOf(ours)
	forTest := to != nil && to.forTest
	switch {
	case s.isTest() && (forTest || slices.Contains(r.tests, ours)):
		return ""
	case forTest:
		return "that package is for tests"
	default:
		return "the table of imports_test.go allows only: " + strings.Join(r.ours, ", ")
	}
}

var update = flag.Bool("update", false, "write the table of levels into ARCHITECTURE.md")

// The table of levels in ARCHITECTURE.md is the one above.
func TestLevelTable(t *testing.T) {
	const page, begin, end = "ARCHITECTURE.md", "<!-- levels: written by imports_test.go -->\n", "<!-- end of levels -->\n"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), begin)
	was, after, foundEnd := strings.Cut(rest, end)
	if !found || !foundEnd {
		t.Fatalf("%s has no %q … %q", page, begin, end)
	}
	want := levelTable()
	if was == want {
		return
	}
	if !*update {
		t.Fatalf("the table of levels in %s is not that of imports_test.go: go test -run TestLevelTable . -update", page)
	}
	if err := os.WriteFile(page, []byte(before+begin+want+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// levelTable is house as a Markdown table, the lowest level first, without rooms for tests.
func levelTable() string {
	rooms := slices.DeleteFunc(slices.Clone(house), func(r room) bool { return r.forTest && r.pkg != "internal/tracecheck" || r.pkg == "bench" })
	slices.SortStableFunc(rooms, func(a, b room) int { return a.level - b.level })
	var b strings.Builder
	b.WriteString("| level | package | job | imports of ours |\n|---|---|---|---|\n")
	for _, r := range rooms {
		var ours []string
		for _, o := range r.ours {
			ours = append(ours, short(o))
		}
		fmt.Fprintf(&b, "| %d | %s | %s | %s |\n", r.level, short(r.pkg), r.job, strings.Join(ours, ", "))
	}
	return b.String()
}

// short is the path of a package as the table shows it.
func short(pkg string) string { return strings.TrimPrefix(pkg, "internal/") }
