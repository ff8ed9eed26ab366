package replay

import (
	"path"
	"strings"

	"substrate/internal/plain"
)

// shells are the programs whose -c flag takes a command.
var shells = []string{"ash", "bash", "dash", "fish", "ksh", "mksh", "sh", "zsh"}

// shellMode describes how a shell was started: its name and its options. argv begins with the name
// of the shell.
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

// options counts the leading words that are options of a shell or their values, and reports whether
// -c is among them.
//
// Source: bash(1), OPTIONS: -c may stand anywhere before the command, -o and -O take
// a word, and "-" and "--" end the options.
func options(args []string) (n int, command bool) {
	for n < len(args) {
		a := args[n]
		switch {
		case a == "-" || a == "--":
			return n + 1, command
		case len(a) > 1 && (a[0] == '-' || a[0] == '+'):
			takes, long := plain.Option(a)
			command = command || !long && a[0] == '-' && a[1] != '-' && strings.Contains(a, "c")
			n = min(n+1+takes, len(args))
		default:
			return n, command
		}
	}
	return len(args), command
}

// nestedShell returns "bash -lc" for a command like `bash -lc 'make'`: a simple command that starts
// a shell with -c. For other commands it returns "".
func nestedShell(cmd string) string {
	args, ok := simpleCommand(cmd)
	if !ok {
		return ""
	}
	for len(args) > 0 && isAssignment(args[0]) {
		args = args[1:]
	}
	known := leading(args)
	if len(known) < 2 || !isShell(known[0]) {
		return ""
	}
	n, command := options(known[1:])
	// The command must follow the options; it may contain an expansion.
	if !command || n+1 >= len(args) {
		return ""
	}
	known[0] = path.Base(known[0])
	known = known[:1+n]
	if known[n] == "--" || known[n] == "-" {
		known = known[:n]
	}
	return strings.Join(known, " ")
}

// leading returns the words before the first one with an expansion.
func leading(args []word) []string {
	var out []string
	for _, w := range args {
		if w.expanded {
			break
		}
		out = append(out, w.text)
	}
	return out
}

// isAssignment reports whether a word in front of a command sets a variable.
func isAssignment(w word) bool {
	name, _, ok := strings.Cut(w.text, "=")
	if !ok || name == "" || w.quoted == 0 || w.quoted <= len(name) {
		return false
	}
	for i, r := range name {
		letter := r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return true
}

// isShell reports whether a program, given by name or path, is a shell with a -c flag.
func isShell(program string) bool {
	name := path.Base(program)
	for _, s := range shells {
		if name == s {
			return true
		}
	}
	return false
}
