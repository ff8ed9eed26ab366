// Package replay plans how to run a recorded span again, and compares the outcome with it.
//
// [NewPlan] computes from a span what to execute: argv, working directory, environment, umask and
// standard input. Package rerun executes it. [Compare] compares the result with the span; an
// [Outcome] holds all that is known of the run, and a [Report] is its JSON.
package replay

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"substrate/internal/plain"
	"substrate/internal/world"
	"substrate/trace"
)

// stdinCmd is the cmd of a span whose commands came on standard input (REC2).
const stdinCmd = "<stdin>"

// defaultUmask is used if the span has no umask (RPL3).
const defaultUmask = 0o022

// Error is why a span cannot be replayed, with a remedy if one is known.
type Error struct {
	Err  error
	Hint string // one line; may be empty
}

// Error returns the reason.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Remedy returns the hint.
func (e *Error) Remedy() string { return e.Hint }

// Options are what the user asks for besides the span.
type Options struct {
	Env     []string // --env: NAME is taken from Environ, NAME=VALUE is taken as it is
	Environ []string // the caller's environment, for Env and for spans that recorded none
	Stdin   string   // --stdin: a file; "" for /dev/null
}

// Plan is what to execute for one span. It is a value: nothing has been done yet.
type Plan struct {
	ReplayOf string   // the span that is replayed
	Cmd      string   // the raw command, as the user knows it
	Path     string   // program: with a slash a path, without one it is looked for on the PATH of Env
	Argv     []string // argv, the zeroth included
	Shell    string   // path of the shell; "" in mode argv
	Cwd      string   // absolute
	Env      []string
	Umask    int
	Stdin    string // a file; "" for /dev/null
	Mode     string // "bash -c", "bash -lc", "argv" …; a nested shell follows in parentheses
}

// NewPlan computes how to run a span again. The span must not be a replay; see [Target].
//
// The error is an [*Error] if the span does not hold enough to run it exactly as it was.
func NewPlan(span trace.Record, o Options) (Plan, error) {
	if span.Cmd == stdinCmd && o.Stdin == "" {
		return Plan{}, &Error{
			Err:  fmt.Errorf("span %s read its commands from standard input, which is not recorded", span.SpanID),
			Hint: "give the same input again with --stdin FILE",
		}
	}
	if err := checkCwd(span); err != nil {
		return Plan{}, err
	}
	p := Plan{
		ReplayOf: span.SpanID,
		Cmd:      span.Cmd,
		Cwd:      span.Cwd,
		Env:      environment(span, o),
		Umask:    umask(span.Umask),
		Stdin:    o.Stdin,
	}
	if err := p.setArgv(span); err != nil {
		return Plan{}, err
	}
	return p, nil
}

// setArgv chooses one of the three ways of RPL2: the argv that was executed, the recorded shell
// with its recorded arguments, or bash -lc for spans of other programs. Nothing is quoted again or
// joined.
func (p *Plan) setArgv(span trace.Record) error {
	switch {
	case !foreign(span) && len(span.Argv) > 0:
		p.Path, p.Argv, p.Mode = span.Argv[0], span.Argv, "argv"
	case span.Shell != "":
		p.Shell, p.Path = span.Shell, span.Shell
		p.Argv = append([]string{filepath.Base(span.Shell)}, span.ShellArgs...)
		p.Mode = shellMode(p.Argv)
	case p.Cmd != "":
		p.Shell, p.Path = "/bin/bash", "/bin/bash"
		p.Argv = []string{"bash", "-lc", p.Cmd}
		p.Mode = "bash -lc"
	default:
		return &Error{Err: fmt.Errorf("span %s has no command", span.SpanID)}
	}
	if nested := nestedShell(p.Cmd); nested != "" && p.Mode != "argv" && p.Shell != "" {
		p.Mode += " (" + nested + ")"
	}
	return nil
}

// Command returns the plan for [world.World.Run] and [world.RunHost]. The caller sets the streams.
func (p Plan) Command() world.Command {
	return world.Command{Path: p.Path, Argv: p.Argv, Dir: p.Cwd, Env: p.Env, Umask: p.Umask}
}

// foreign reports whether another program wrote the span. Its argv may not be what was executed,
// and it does not hold its environment.
func foreign(span trace.Record) bool { return span.TraceSchemaVersion < 1 }

// checkCwd checks that the command can start in its working directory.
func checkCwd(span trace.Record) error {
	if !filepath.IsAbs(span.Cwd) {
		return &Error{Err: fmt.Errorf("span %s has no absolute working directory", span.SpanID)}
	}
	info, err := os.Stat(span.Cwd)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &Error{
			Err:  fmt.Errorf("working directory %s of span %s no longer exists", span.Cwd, span.SpanID),
			Hint: "make it again: mkdir -p " + plain.Quoted([]string{span.Cwd}),
		}
	case err != nil:
		return &Error{
			Err:  fmt.Errorf("working directory of span %s: %w", span.SpanID, err),
			Hint: "replay as the user who recorded the span",
		}
	case !info.IsDir():
		return &Error{Err: fmt.Errorf("working directory %s of span %s is no longer a directory", span.Cwd, span.SpanID)}
	}
	return nil
}

// umask parses the octal umask of a span.
func umask(s string) int {
	n, err := strconv.ParseUint(s, 8, 16)
	if err != nil || n > 0o777 {
		return defaultUmask
	}
	return int(n)
}
