package replay

import (
	"path"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// shells are the programs whose -c flag takes a command.
var shells = []string{"ash", "bash", "dash", "fish", "ksh", "mksh", "sh", "zsh"}

// shellMode names how a shell was started: its name and its options as they were
// given. argv begins with the name of the shell.
func shellMode(argv []string) string {
	n, command := options(argv[1:])
	mode := strings.Join(append([]string{path.Base(argv[0])}, argv[1:1+n]...), " ")
	switch {
	case command:
		return mode
	case 1+n < len(argv):
		return mode + " script"
	}
	return mode + " stdin"
}

// options counts the leading words that are options of a shell with their values, and
// says whether -c is among them.
//
// Source: bash(1), OPTIONS: -c may stand anywhere before the command, -o and -O take
// a word, and "-" and "--" end the options.
func options(args []string) (n int, command bool) {
	for n < len(args) {
		a := args[n]
		switch {
		case a == "-" || a == "--":
			return n + 1, command
		case strings.HasPrefix(a, "--"):
			n++
			if a == "--rcfile" || a == "--init-file" {
				n = min(n+1, len(args))
			}
		case len(a) > 1 && (a[0] == '-' || a[0] == '+'):
			n++
			command = command || a[0] == '-' && strings.ContainsRune(a, 'c')
			n += strings.Count(a, "o") + strings.Count(a, "O")
			n = min(n, len(args))
		default:
			return n, command
		}
	}
	return len(args), command
}

// nestedShell returns how a command starts a shell of its own if it is one simple
// command that does so with a -c flag, as in `bash -lc 'make'`: "bash -lc". Else "".
func nestedShell(cmd string) string {
	// Most commands name no shell, and parsing is the dearer part.
	if !strings.Contains(cmd, "sh") {
		return ""
	}
	file, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(cmd), "")
	if err != nil || len(file.Stmts) != 1 {
		return ""
	}
	stmt := file.Stmts[0]
	call, ok := stmt.Cmd.(*syntax.CallExpr)
	if !ok || stmt.Negated || stmt.Background || stmt.Coprocess {
		return ""
	}
	words := leadingWords(call.Args)
	if len(words) < 2 || !isShell(words[0]) {
		return ""
	}
	n, command := options(words[1:])
	// The command itself must follow the options; it may be a word we cannot know.
	if !command || n+1 >= len(call.Args) {
		return ""
	}
	words = append([]string{path.Base(words[0])}, words[1:1+n]...)
	if last := words[len(words)-1]; last == "--" {
		words = words[:len(words)-1]
	}
	return strings.Join(words, " ")
}

// leadingWords returns the text of the words before the first that is expanded.
func leadingWords(args []*syntax.Word) []string {
	var words []string
	for _, w := range args {
		text, ok := staticText(w)
		if !ok {
			break
		}
		words = append(words, text)
	}
	return words
}

// staticText returns what a word stands for if no expansion is in it.
func staticText(w *syntax.Word) (string, bool) {
	var b strings.Builder
	for _, part := range w.Parts {
		switch p := part.(type) {
		case *syntax.Lit:
			b.WriteString(strings.ReplaceAll(p.Value, `\`, ""))
		case *syntax.SglQuoted:
			b.WriteString(p.Value)
		case *syntax.DblQuoted:
			for _, inner := range p.Parts {
				lit, ok := inner.(*syntax.Lit)
				if !ok {
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

// isShell says whether a program, by name or path, is a shell with a -c flag.
func isShell(program string) bool {
	name := path.Base(program)
	for _, s := range shells {
		if name == s {
			return true
		}
	}
	return false
}
