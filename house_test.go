package substrate_test

import (
	"fmt"
	"go/ast"
	"os"
	"strings"
	"testing"
)

const (
	maxFields       = 15   // of a struct
	maxCommentWidth = 100  // columns; a tab counts as 4
	maxPackageLines = 1500 // without tests and without generated files
)

// manyFields are the structs that may have more fields: options and records, whose fields are
// independent of each other.
var manyFields = map[string]bool{
	"internal/config.Config":      true,
	"internal/doctor.Report":      true,
	"internal/plain.Start":        true,
	"internal/prestart.environ":   true,
	"internal/prestart.plan":      true,
	"internal/replay.Report":      true,
	"internal/tracecheck.schema":  true,
	"internal/world.Result":       true,
	"internal/world.Spec":         true,
	"internal/world/view.Request": true,
	"trace.Completion":            true,
	"trace.Record":                true,
}

// methodsWithoutValues counts, for each package, the methods outside tests that neither take nor
// return anything. Such a method changes state that its caller cannot see. The numbers may only
// shrink.
var methodsWithoutValues = map[string]int{
	"internal/prestart":   2,
	"internal/redact":     7,
	"internal/shell":      1,
	"internal/shim":       1,
	"internal/show":       1,
	"internal/world/boot": 1,
	"trace":               1,
}

// wideComments are the packages whose comments are still wider than maxCommentWidth.
var wideComments = map[string]bool{}

// largePackages may have more lines than maxPackageLines.
var largePackages = map[string]bool{
	"trace": true, "internal/world/layout": true, "internal/world": true, "internal/cli": true,
	"internal/redact": true, // its prefilter is a table
}

// A struct is small enough to be seen as one thing.
func TestStructFields(t *testing.T) {
	large := map[string]bool{}
	for _, p := range parsedSources(t) {
		if p.isTest() || isForTest(p.pkg) {
			continue
		}
		ast.Inspect(p.file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			typ, ok := spec.Type.(*ast.StructType)
			if !ok || typ.Fields == nil {
				return true
			}
			fields := 0
			for _, f := range typ.Fields.List {
				fields += max(1, len(f.Names))
			}
			if fields <= maxFields {
				return true
			}
			name := p.pkg + "." + spec.Name.Name
			large[name] = true
			if !manyFields[name] {
				t.Errorf("%s: struct %s has %d fields, want at most %d", p.at(spec), name, fields, maxFields)
			}
			return true
		})
	}
	for name := range manyFields {
		if !large[name] {
			t.Errorf("struct %s has at most %d fields by now: take it out of manyFields", name, maxFields)
		}
	}
}

// A method takes or returns something, so that its caller sees what it works on.
func TestMethodsTakeOrReturn(t *testing.T) {
	found := map[string][]string{}
	for _, p := range parsedSources(t) {
		if p.isTest() || isForTest(p.pkg) {
			continue
		}
		for _, decl := range p.file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || f.Recv == nil || f.Type.Params.NumFields() > 0 || f.Type.Results.NumFields() > 0 {
				continue
			}
			found[p.pkg] = append(found[p.pkg], fmt.Sprintf("%s %s", p.at(f), f.Name.Name))
		}
	}
	for pkg, methods := range found {
		if len(methods) > methodsWithoutValues[pkg] {
			t.Errorf("%s has %d methods without parameters and results, want at most %d:\n%s",
				pkg, len(methods), methodsWithoutValues[pkg], strings.Join(methods, "\n"))
		}
	}
	for pkg, n := range methodsWithoutValues {
		if len(found[pkg]) < n {
			t.Errorf("%s has only %d methods without parameters and results: lower the number in methodsWithoutValues", pkg, len(found[pkg]))
		}
	}
}

// Comments fit into a window beside another one.
func TestCommentWidth(t *testing.T) {
	wide := map[string]bool{}
	for _, p := range parsedSources(t) {
		text, err := os.ReadFile(p.path())
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(string(text), "\n")
		for _, group := range p.file.Comments {
			for _, c := range group.List {
				from, to := p.fset.Position(c.Pos()).Line, p.fset.Position(c.End()).Line
				if strings.HasPrefix(c.Text, "//go:") || !startsLine(lines[from-1]) {
					continue // a directive, or a remark behind code
				}
				for n := from; n <= to; n++ {
					width := len([]rune(strings.ReplaceAll(lines[n-1], "\t", "    ")))
					if width <= maxCommentWidth || strings.Contains(lines[n-1], "://") {
						continue
					}
					wide[p.pkg] = true
					if !wideComments[p.pkg] {
						t.Errorf("%s:%d: comment of %d columns, want at most %d", p.path(), n, width, maxCommentWidth)
					}
				}
			}
		}
	}
	for pkg := range wideComments {
		if !wide[pkg] {
			t.Errorf("no comment of %s is wider than %d columns by now: take it out of wideComments", pkg, maxCommentWidth)
		}
	}
}

// startsLine reports whether a line holds nothing but a comment.
func startsLine(line string) bool {
	text := strings.TrimSpace(line)
	return strings.HasPrefix(text, "//") || strings.HasPrefix(text, "/*")
}

// A package is small enough to be known by one person.
func TestPackageSizes(t *testing.T) {
	lines := map[string]int{}
	for _, p := range parsedSources(t) {
		if !p.isTest() && !isForTest(p.pkg) && !ast.IsGenerated(p.file) {
			lines[p.pkg] += p.fset.Position(p.file.FileEnd).Line
		}
	}
	for pkg, n := range lines {
		if n > maxPackageLines && !largePackages[pkg] {
			t.Errorf("package %s has %d lines, want at most %d", pkg, n, maxPackageLines)
		}
	}
	for pkg := range largePackages {
		if lines[pkg] <= maxPackageLines {
			t.Errorf("package %s has only %d lines by now: take it out of largePackages", pkg, lines[pkg])
		}
	}
}

// isForTest reports whether only tests import a package.
func isForTest(pkg string) bool {
	r := roomOf(pkg)
	return r != nil && r.forTest && pkg != "internal/tracecheck"
}
