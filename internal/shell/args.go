package shell

import (
	"errors"
	"fmt"
	"strings"

	"substrate/internal/plain"
)

// Kind is where a shell takes its commands from.
type Kind int

// The kinds of [Invocation].
const (
	FromCommand Kind = iota // -c CMD
	FromScript              // a file
	FromStdin               // standard input
)

// Invocation is a command line of bash, with our options taken out.
type Invocation struct {
	Kind    Kind
	Args    []string // what the shell gets after argv[0]
	Command string   // FromCommand: the raw string
	Script  []string // FromScript: the file as it was named, and its arguments

	Shell       string // --shell; "" for the default
	Interactive bool   // -i
	Capture     bool   // --capture
	CI          bool   // --ci without --no-exit-on-error
	SkipShims   bool   // --shim-skip

	ShimDir string // set by the caller of Run: the directory to put first on PATH (SHM7); "" for none
}

// ErrNotYet is wrapped by the error for an option that this version does not have yet.
var ErrNotYet = errors.New("not yet available")

// IsOption reports whether word is a long option of the shell, and so not ours.
func IsOption(word string) bool {
	_, long := plain.Option(word)
	return long
}

// parser walks along the options of a command line.
type parser struct {
	inv     Invocation
	rest    []string // not looked at yet
	long    int      // number of words in inv.Args that must stay in front, because bash wants long options first
	command bool     // -c was given
	stdin   bool     // -s was given
	lenient bool     // --no-exit-on-error was given
	file    bool     // our -f was given
}

// Parse takes a command line apart as bash would. What is not ours stays exactly as it
// was, whether bash will like it or not: it is bash that complains then. The error wraps
// [ErrNotYet] or is one of usage.
func Parse(args []string) (Invocation, error) {
	p := parser{rest: args}
	for len(p.rest) > 0 {
		more, err := p.option()
		if err != nil {
			return Invocation{}, err
		}
		if !more {
			break
		}
	}
	p.operands()
	p.inv.CI = p.inv.CI && !p.lenient
	if p.inv.CI {
		strict := []string{"-o", "errexit", "-o", "nounset", "-o", "pipefail"}
		p.inv.Args = append(append(append([]string(nil), p.inv.Args[:p.long]...), strict...), p.inv.Args[p.long:]...)
	}
	return p.inv, nil
}

// option takes the next word if it is an option, and reports whether more may follow.
func (p *parser) option() (more bool, err error) {
	word := p.rest[0]
	if word == "" || (word[0] != '-' && word[0] != '+') {
		return false, nil
	}
	if word == "-" || word == "--" {
		p.pass(1)
		return false, nil
	}
	if p.isFile() {
		p.rest, p.file = p.rest[1:], true
		return false, nil
	}
	if ours, err := p.ours(); ours || err != nil {
		return true, err
	}
	takes, long := plain.Option(word)
	if long {
		if p.long == len(p.inv.Args) {
			p.long += min(1+takes, len(p.rest))
		}
		p.pass(1 + takes)
		return true, nil
	}
	if strings.HasPrefix(word, "--") {
		return false, fmt.Errorf("unknown option %s", word)
	}
	p.command = p.command || strings.Contains(word, "c")
	p.stdin = p.stdin || strings.Contains(word, "s")
	p.inv.Interactive = p.inv.Interactive || strings.Contains(word, "i")
	p.pass(1 + takes)
	return true, nil
}

// isFile reports whether the next word is our -f and not the one of bash: the first option, alone,
// and followed by what can be a file.
func (p *parser) isFile() bool {
	return p.rest[0] == "-f" && len(p.inv.Args) == 0 && len(p.rest) > 1 &&
		p.rest[1] != "" && p.rest[1][0] != '-' && p.rest[1][0] != '+'
}

// ours takes the next word if it is an option of substrate.
func (p *parser) ours() (bool, error) {
	name, value, hasValue := strings.Cut(p.rest[0], "=")
	switch name {
	case "--ci":
		p.inv.CI = true
	case "--no-exit-on-error":
		p.lenient = true
	case "--shim-skip":
		p.inv.SkipShims = true
	case "--capture":
		p.inv.Capture = true
	case "--pty":
		return true, fmt.Errorf("option %s: %w", name, ErrNotYet)
	case "--shell":
		if !hasValue {
			if len(p.rest) < 2 {
				return true, errors.New("option --shell needs the path of a shell")
			}
			p.rest = p.rest[1:]
			value = p.rest[0]
		}
		if value == "" {
			return true, errors.New("option --shell needs the path of a shell")
		}
		p.inv.Shell, hasValue = value, false
	default:
		return false, nil
	}
	if hasValue {
		return true, fmt.Errorf("option %s takes no value", name)
	}
	p.rest = p.rest[1:]
	return true, nil
}

// pass hands n words to the shell, or as many as there are.
func (p *parser) pass(n int) {
	n = min(n, len(p.rest))
	p.inv.Args = append(p.inv.Args, p.rest[:n]...)
	p.rest = p.rest[n:]
}

// operands takes what follows the options.
func (p *parser) operands() {
	p.inv.Kind = FromStdin
	switch {
	case p.command:
		p.inv.Kind = FromCommand
		if len(p.rest) > 0 {
			p.inv.Command = p.rest[0]
		}
	case len(p.rest) > 0 && (p.file || !p.stdin):
		p.inv.Kind = FromScript
		p.inv.Script = p.rest
	}
	p.inv.Args = append(p.inv.Args, p.rest...)
}
