package replay

import (
	"path"
	"strings"
	"testing"
	"unicode/utf8"

	"mvdan.cc/sh/v3/syntax"
)

// nestedByParser is nestedShell by a parser for the whole language of bash.
func nestedByParser(cmd string) string {
	file, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(cmd), "")
	if err != nil || len(file.Stmts) != 1 {
		return ""
	}
	stmt := file.Stmts[0]
	call, ok := stmt.Cmd.(*syntax.CallExpr)
	if !ok || stmt.Negated || stmt.Background || stmt.Coprocess {
		return ""
	}
	var words []string
	for _, w := range call.Args {
		text, ok := staticText(w)
		if !ok {
			break
		}
		words = append(words, text)
	}
	if len(words) < 2 || !isShell(words[0]) {
		return ""
	}
	n, command := options(words[1:])
	if !command || n+1 >= len(call.Args) {
		return ""
	}
	words = append([]string{path.Base(words[0])}, words[1:1+n]...)
	if words[n] == "--" || words[n] == "-" {
		words = words[:n]
	}
	return strings.Join(words, " ")
}

// staticText returns the text of a word without expansions.
func staticText(w *syntax.Word) (string, bool) {
	var b strings.Builder
	for _, part := range w.Parts {
		switch p := part.(type) {
		case *syntax.Lit:
			if strings.ContainsAny(p.Value, "*?[~{") {
				return "", false
			}
			b.WriteString(strings.ReplaceAll(p.Value, `\`, ""))
		case *syntax.SglQuoted:
			if p.Dollar {
				return "", false
			}
			b.WriteString(p.Value)
		case *syntax.DblQuoted:
			for _, inner := range p.Parts {
				lit, ok := inner.(*syntax.Lit)
				if !ok || p.Dollar {
					return "", false
				}
				b.WriteString(lit.Value)
			}
		default:
			return "", false
		}
	}
	return b.String(), true
}

// RPL8: a command is split into words as by the shell.
func TestSimpleCommand(t *testing.T) {
	tests := map[string]string{
		`a  b	c`:                "a|b|c",
		`a 'b c' "d \"e" f\ g;`: `a|b c|d "e|f g`,
		`a >out 2>&1 <in b`:     "a|b",
		`a &>out <<<'x y' b`:    "a|b",
		"a '' # rest":           "a|",
		"a \\\n b\n\n":          "a||b",
		`a b; c`:                "-",
		`a && b`:                "-",
		"a\nb":                  "-",
		`a $(b)`:                "-",
		"a `b`":                 "-",
		`a <(b)`:                "-",
		"a <<E\nE\n":            "-",
		`a 'b`:                  "-",
		`a "b`:                  "-",
		`a \`:                   "-",
		`a >`:                   "-",
		``:                      "",
		`a "x\yz" "$"`:          `a|x\yz|$`,
	}
	for in, want := range tests {
		words, ok := simpleCommand(in)
		var texts []string
		for _, w := range words {
			texts = append(texts, w.text)
		}
		got := strings.Join(texts, "|")
		if !ok {
			got = "-"
		}
		if got != want {
			t.Errorf("simpleCommand(%q) = %q, want %q", in, got, want)
		}
	}
}

// FuzzNestedShell compares nestedShell with a whole parser. It may find less than the parser, but
// nothing else.
func FuzzNestedShell(f *testing.F) {
	for _, cmd := range []string{
		"bash -lc 'x'", "A=1 sh -c x >out", "bash -c \"$X\"", "'bash' \"-c\" x;", "bash -c x | y", "a=b\\ c zsh -c x",
		"bash -c 'a' <<<b &", "bash -c {a,b}", "\\bash -c x # no", "bash -c x\n", "A='1' B+=2 bash -c x", "! sh -c x",
	} {
		f.Add(cmd)
	}
	f.Fuzz(func(t *testing.T, cmd string) {
		if !utf8.ValidString(cmd) || strings.ContainsAny(cmd, "\x00\r") {
			return // the parser is at odds with bash about these bytes
		}
		if got := nestedShell(cmd); got != "" && got != nestedByParser(cmd) {
			t.Errorf("nestedShell(%q) = %q, the parser says %q", cmd, got, nestedByParser(cmd))
		}
	})
}
