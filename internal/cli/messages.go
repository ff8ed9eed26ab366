package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"substrate/fsdiff"
	"substrate/internal/config"
	"substrate/internal/show"
)

// Exit statuses of substrate itself.
//
// Source: GNU coreutils, "env invocation"; bash(1), EXIT STATUS.
const (
	exitUsage   = 2   // the command line cannot be understood
	exitFailure = 125 // something of ours failed
)

// failure is an error that ends the program, with a remedy if one is known and the exit status.
type failure struct {
	err    error
	hint   string // "" for none
	status int    // 0 means exitFailure
}

// Error returns the text of the cause.
func (f *failure) Error() string { return f.err.Error() }

// Unwrap returns the cause.
func (f *failure) Unwrap() error { return f.err }

// usagef returns an error about the command line.
func usagef(format string, args ...any) error {
	return &failure{
		err: fmt.Errorf(format, args...), status: exitUsage,
		hint: "run `substrate --help`",
	}
}

// app is one run of the program: its arguments, environment and files.
//
// A subcommand prints its results to stdout; warn, hint and report print to stderr. A subcommand
// whose exit status is not a failure of substrate, such as that of a replayed command, sets status
// and returns nil.
type app struct {
	stdin  *os.File
	stdout *os.File
	stderr *os.File
	args   []string // without the name of the program
	name   string   // argv[0]; it begins with "-" for a login shell
	env    []string // the environment as it was inherited
	cfg    config.Config
	status int // exit status of a run without error
}

// warn prints a warning; the program goes on.
func (a *app) warn(format string, args ...any) {
	message(a.stderr, "warning", fmt.Sprintf(format, args...))
}

// maxShownValue is the number of characters that a message shows of the value of a variable.
const maxShownValue = 60

// warnSettings warns about invalid settings, once in a run. With all false it leaves out those that
// only affect replays and worlds. Shims do not warn, because substrate already did.
func (a *app) warnSettings(all bool) {
	for _, p := range a.cfg.Problems {
		if all || !p.Worlds {
			a.warn("%s=%s: want %s; using %s", p.Name, show.Cut(fsdiff.Escape(p.Value), maxShownValue), p.Want, p.Used)
		}
	}
	a.cfg.Problems = nil
}

// hint prints what the user can do.
func (a *app) hint(format string, args ...any) {
	message(a.stderr, "hint", fmt.Sprintf(format, args...))
}

// report prints err and its hint, and returns the exit status for it.
func (a *app) report(err error) int {
	message(a.stderr, "error", err.Error())
	var f *failure
	if errors.As(err, &f) && f.hint != "" {
		message(a.stderr, "hint", f.hint)
	}
	return statusOf(err)
}

// statusOf returns the exit status for an error.
func statusOf(err error) int {
	var f *failure
	if !errors.As(err, &f) || f.status == 0 {
		return exitFailure
	}
	return f.status
}

// message writes one line in a single write, so that what a command prints at the same moment
// cannot come in between.
func message(f *os.File, kind, text string) {
	_, _ = stderrWriter{f}.Write([]byte("substrate: " + kind + ": " + text + "\n")) // returns no error
}

// stderrWriter writes without os.File, which ends the program by SIGPIPE if nobody reads standard
// error any more. The span of a running command must be completed even then.
type stderrWriter struct{ f *os.File }

// Write makes one write and returns no error: a line that nobody reads is lost.
func (w stderrWriter) Write(line []byte) (int, error) {
	if raw, err := w.f.SyscallConn(); err == nil { // not closed
		_ = raw.Write(func(fd uintptr) bool {
			_, _ = syscall.Write(int(fd), line)
			return true
		})
	}
	return len(line), nil
}

// print writes a result to standard output.
func (a *app) print(text string) error {
	_, err := io.WriteString(a.stdout, text)
	return failed(err)
}

// printEither prints v as one JSON object, or text.
func (a *app) printEither(asJSON bool, v any, text string) error {
	if asJSON {
		return a.printJSON(v)
	}
	return a.print(text)
}

// printJSON prints one object and a newline.
func (a *app) printJSON(v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return failed(fmt.Errorf("encode the result: %w", err))
	}
	return a.print(string(text) + "\n")
}
