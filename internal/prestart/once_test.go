package prestart

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// known are the constants of one package: text that means something, and named values.
type known struct {
	texts map[string]string // where each stands
	names map[string]string // name=value, likewise
}

// knownIn reads the constants of the package in a directory, without its tests.
func knownIn(t *testing.T, dir string) known {
	k := known{map[string]string{}, map[string]string{}}
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	must(t, err)
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, 0)
		must(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ImportSpec:
				return false
			case *ast.BasicLit:
				if text, err := strconv.Unquote(n.Value); n.Kind == token.STRING && err == nil && len(strings.Trim(text, "\x00/:=")) > 2 {
					k.texts[strings.Trim(text, "\x00/:=")] = files.Position(n.Pos()).String()
				}
			case *ast.GenDecl:
				for _, spec := range n.Specs {
					value, ok := spec.(*ast.ValueSpec)
					for i := 0; ok && n.Tok == token.CONST && i < len(value.Values); i++ {
						if lit, ok := value.Values[i].(*ast.BasicLit); ok && len(lit.Value) > 1 {
							k.names[strings.ToLower(value.Names[i].Name)+"="+lit.Value] = files.Position(lit.Pos()).String()
						}
					}
				}
			}
			return true
		})
	}
	return k
}

// TestWrittenOnce: what both start routes know is in package plain. No text and no named value of
// this package stands in a package of the ordinary route or in plain as well.
func TestWrittenOnce(t *testing.T) {
	here := knownIn(t, ".")
	for _, dir := range []string{"../plain", "../../trace", "../record", "../vault", "../shim", "../shell", "../config"} {
		there := knownIn(t, dir)
		for text, at := range here.texts {
			if again := there.texts[text]; again != "" {
				t.Errorf("%q stands at %s and at %s", text, at, again)
			}
		}
		for value, at := range here.names {
			if again := there.names[value]; again != "" {
				t.Errorf("%s stands at %s and at %s", value, at, again)
			}
		}
	}
	plain := knownIn(t, "../plain")
	for _, dir := range []string{"../../trace", "../record", "../vault", "../shim", "../config"} {
		for text, at := range knownIn(t, dir).texts {
			if again := plain.texts[text]; again != "" && !isWord[text] {
				t.Errorf("%q stands at %s and at %s", text, at, again)
			}
		}
	}
}

// isWord are words that mean something else there, such as fields of other objects.
var isWord = map[string]bool{
	"argv": true, "span_id": true, "exit": true, "depth": true, "caller": true, "pid": true, "shim": true, "python": true,
	"true": true, "false": true, "off": true,
}
