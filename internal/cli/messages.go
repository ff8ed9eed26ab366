package cli

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"substrate/fsdiff"
	"substrate/internal/config"
	"substrate/internal/show"
)

// The exit statuses that are ours and not the command's.
//
// Source: GNU coreutils, "env invocation"; bash(1), EXIT STATUS.
const (
	exitUsage   = 2   // the command line cannot be understood
	exitFailure = 125 // something of ours failed
)

// failure is an error that ends the program: what went wrong, a remedy if one is
// known, and the status to exit with.
type failure struct {
	err    error
	hint   string // "" for none
	status int    // 0 means exitFailure
}

// Error returns the text of the cause.
func (f *failure) Error() string { return f.err.Error() }

// Unwrap returns the cause.
func (f *failure) Unwrap() error { return f.err }

// usagef is an error in the command line.
func usagef(format string, args ...any) error {
	return &failure{
		err: fmt.Errorf(format, args...), status: exitUsage,
		hint: "run `substrate --help`",
	}
}

// app is one run of the program: who called it, with what, and where it writes.
//
// A subcommand prints its results to stdout. Everything else goes through warn, hint
// and report to stderr. A subcommand that ends with a status that is no failure of
// ours, such as that of a replayed command, leaves it in status and returns nil.
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

// warn says that something is not as it should be, and that we go on.
func (a *app) warn(format string, args ...any) {
	message(a.stderr, "warning", fmt.Sprintf(format, args...))
}

// maxShownValue is how many characters of a variable's value a message shows.
const maxShownValue = 60

// warnSettings names the variables whose values make no sense, once in a run. With all false those are left out that only replays
// and worlds look at: what they say changes nothing for a command that is recorded. A shim names none, since substrate
// did before it, and each shim would again.
func (a *app) warnSettings(all bool) {
	for _, p := range a.cfg.Problems {
		if all || !p.Worlds {
			a.warn("%s=%s: want %s; counts as %s", p.Name, show.Cut(fsdiff.Escape(p.Value), maxShownValue), p.Want, p.Used)
		}
	}
	a.cfg.Problems = nil
}

// hint says what the user may do.
func (a *app) hint(format string, args ...any) {
	message(a.stderr, "hint", fmt.Sprintf(format, args...))
}

// report prints err, and its hint if it has one, and gives the exit status for it.
func (a *app) report(err error) int {
	message(a.stderr, "error", err.Error())
	var f *failure
	if errors.As(err, &f) && f.hint != "" {
		message(a.stderr, "hint", f.hint)
	}
	return statusOf(err)
}

// statusOf is the exit status for an error.
func statusOf(err error) int {
	var f *failure
	if !errors.As(err, &f) || f.status == 0 {
		return exitFailure
	}
	return f.status
}

// message writes one line in a single write, so that it is never mixed with what a
// command prints at the same moment.
//
// It goes past os.File, which ends the whole program by SIGPIPE if nobody reads standard
// error any more; the command and its span must come to their end all the same.
func message(f *os.File, kind, text string) {
	writePast(f, []byte("substrate: "+kind+": "+text+"\n"))
}

// writePast makes one write that goes past os.File.
func writePast(f *os.File, line []byte) {
	raw, err := f.SyscallConn()
	if err != nil {
		return // closed; there is nobody to tell
	}
	_ = raw.Write(func(fd uintptr) bool {
		_, _ = syscall.Write(int(fd), line) // lost if nobody reads
		return true
	})
}
