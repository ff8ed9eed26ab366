package substrate_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	maxFuncLines = 100 // straight-line code may be that long; STYLE.md asks for 45
	maxFileLines = 600 // without tests
)

// notNames are package names that say nothing.
var notNames = []string{"util", "utils", "common", "helper", "helpers", "type", "types", "misc", "base", "lib", "shared"}

// parsed is a file with its syntax tree.
type parsed struct {
	source
	fset *token.FileSet
	file *ast.File
}

// parsedSources parses every Go file of the module.
func parsedSources(t *testing.T) []parsed {
	t.Helper()
	var all []parsed
	for _, s := range sources(t) {
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, s.path(), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, parsed{s, fset, file})
	}
	return all
}

// at returns file:line of a node, as editors understand it.
func (p parsed) at(n ast.Node) string {
	pos := p.fset.Position(n.Pos())
	return fmt.Sprintf("%s:%d", pos.Filename, pos.Line)
}

// lines returns how many lines a node has.
func (p parsed) lines(n ast.Node) int {
	return p.fset.Position(n.End()).Line - p.fset.Position(n.Pos()).Line + 1
}

// Each package says its job: "Package x …", a program "Command x …" or with its own name.
func TestPackageComments(t *testing.T) {
	comments := map[string]string{}
	for _, p := range parsedSources(t) {
		name := p.file.Name.Name
		if slices.Contains(notNames, name) {
			t.Errorf("%s: package %s: the name says nothing; put the code where it is used", p.path(), name)
		}
		if p.isTest() {
			continue
		}
		if _, seen := comments[p.pkg]; !seen {
			comments[p.pkg] = ""
		}
		if p.file.Doc == nil {
			continue
		}
		if was := comments[p.pkg]; was != "" {
			t.Errorf("%s: package %s has a second package comment", p.path(), name)
		}
		text := p.file.Doc.Text()
		comments[p.pkg] = text
		want := "Package " + name + " "
		if name == "main" {
			want = "Command " + filepath.Base(p.pkg) + " "
		}
		if !strings.HasPrefix(text, want) {
			t.Errorf("%s: the package comment begins %q, want %q", p.path(), firstWords(text), want)
		}
	}
	for pkg, text := range comments {
		if text == "" {
			t.Errorf("package %s has no package comment", pkg)
		}
	}
}

// Each exported name has a comment that begins with it.
func TestDocComments(t *testing.T) {
	for _, p := range parsedSources(t) {
		if p.isTest() || p.file.Name.Name == "main" {
			continue
		}
		for _, decl := range p.file.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && receiverExported(d) {
					p.checkDoc(t, d, d.Name.Name, d.Doc)
				}
			case *ast.GenDecl:
				p.checkSpecs(t, d)
			}
		}
	}
}

// checkSpecs checks types, constants and variables. In a group with a comment of its own, or with
// one at the end of the line, a constant or variable needs no more.
func (p parsed) checkSpecs(t *testing.T, d *ast.GenDecl) {
	t.Helper()
	for _, spec := range d.Specs {
		switch s := spec.(type) {
		case *ast.TypeSpec:
			doc := s.Doc
			if doc == nil && !d.Lparen.IsValid() {
				doc = d.Doc
			}
			if s.Name.IsExported() {
				p.checkDoc(t, s, s.Name.Name, doc)
			}
		case *ast.ValueSpec:
			if s.Doc == nil && d.Lparen.IsValid() && (d.Doc != nil || s.Comment != nil) {
				continue
			}
			doc := s.Doc
			if doc == nil {
				doc = d.Doc
			}
			for _, name := range s.Names[:1] {
				if name.IsExported() {
					p.checkDoc(t, s, name.Name, doc)
				}
			}
		}
	}
}

// checkDoc checks one comment.
func (p parsed) checkDoc(t *testing.T, n ast.Node, name string, doc *ast.CommentGroup) {
	t.Helper()
	switch {
	case doc == nil:
		t.Errorf("%s: exported %s has no comment", p.at(n), name)
	case !strings.HasPrefix(doc.Text(), name+" ") && !strings.HasPrefix(doc.Text(), name+"\n"):
		t.Errorf("%s: the comment of %s begins %q, want its name", p.at(n), name, firstWords(doc.Text()))
	}
}

// receiverExported reports whether a function can be named from outside.
func receiverExported(d *ast.FuncDecl) bool {
	if d.Recv == nil || len(d.Recv.List) == 0 {
		return true
	}
	typ := d.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	switch x := typ.(type) {
	case *ast.IndexExpr:
		typ = x.X
	case *ast.IndexListExpr:
		typ = x.X
	}
	id, ok := typ.(*ast.Ident)
	return !ok || id.IsExported()
}

// firstWords returns the beginning of a comment.
func firstWords(text string) string {
	words := strings.Fields(text)
	return strings.Join(words[:min(len(words), 4)], " ")
}

// Functions and files are short enough to be read from top to bottom.
func TestLengths(t *testing.T) {
	for _, p := range parsedSources(t) {
		if p.isTest() {
			continue
		}
		if n := p.fset.Position(p.file.FileEnd).Line; n > maxFileLines {
			t.Errorf("%s has %d lines, want at most %d", p.path(), n, maxFileLines)
		}
		ast.Inspect(p.file, func(n ast.Node) bool {
			switch f := n.(type) {
			case *ast.FuncDecl:
				if lines := p.lines(f); lines > maxFuncLines {
					t.Errorf("%s: func %s has %d lines, want at most %d", p.at(f), f.Name.Name, lines, maxFuncLines)
				}
			case *ast.FuncLit:
				if lines := p.lines(f); lines > maxFuncLines {
					t.Errorf("%s: a function literal has %d lines, want at most %d", p.at(f), lines, maxFuncLines)
				}
			}
			return true
		})
	}
}

// exits end the process past every deferred undo.
var exits = map[string]bool{
	"os.Exit": true, "syscall.Exit": true, "unix.Exit": true, "log.Fatal": true, "log.Fatalf": true, "log.Fatalln": true,
}

// Only main ends the process, so that deferred calls always run. Nothing runs before main.
func TestNoExitNoInit(t *testing.T) {
	for _, p := range parsedSources(t) {
		isMain := p.name == "main.go" && strings.HasPrefix(p.pkg, "cmd/")
		for _, decl := range p.file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s: func init: do it where it is needed", p.at(f))
			}
		}
		if p.isTest() || isMain {
			continue
		}
		ast.Inspect(p.file, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok {
				if pkg, ok := sel.X.(*ast.Ident); ok && exits[pkg.Name+"."+sel.Sel.Name] {
					t.Errorf("%s: %s.%s outside cmd/*/main.go: return an error or a status", p.at(sel), pkg.Name, sel.Sel.Name)
				}
			}
			return true
		})
	}
}
