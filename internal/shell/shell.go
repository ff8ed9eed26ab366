// Package shell runs a command, a script or standard input with the user's shell, and records it.
//
// [Parse] parses the command line of bash. [Run] starts the shell as a child in the same process
// group and on the same terminal, waits for it, and returns its exit status. The shell inherits our
// files. The caller prints errors; package record writes the span.
package shell

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"substrate/internal/capture"
	"substrate/internal/config"
	"substrate/internal/environ"
	"substrate/internal/plain"
	"substrate/internal/procstate"
	"substrate/internal/record"
	"substrate/trace"
)

// stdinCmd is the cmd of a span whose commands came on standard input.
//
// Source: REC2.
const stdinCmd = "<stdin>"

// Run runs inv with the shell that inv or cfg names, and records it with rec. The status is that of
// the shell, 128+n if signal n killed it. If the shell could not be started, the error says why and
// the status is 126 or 127; other errors are failures of ours.
//
// From then on, signals to this process are passed to the shell.
func Run(cfg config.Config, rec *record.Recorder, inv Invocation, env []string) (status int, err error) {
	path, lookErr := inv.shellPath(cfg, env)
	procstate.CatchSignals()
	span := rec.Begin(inv.command(path, env))
	done := trace.Completion{Exit: plain.StatusNotFound}
	defer func() {
		done.DurationMS = span.Elapsed().Milliseconds()
		span.End(done)
	}()
	if lookErr != nil {
		return done.Exit, lookErr
	}
	tap := inv.tap(cfg, rec)
	pid, err := inv.start(path, shimsFirst(span.Environ(env), inv.ShimDir), env, tap)
	defer func() { done.Capture = keep(rec, span, tap) }() // before the span ends
	if err != nil {
		done.Exit = startStatus(err)
		return done.Exit, fmt.Errorf("start %s: %w", path, err)
	}
	procstate.PassSignalsTo(pid)
	end, err := procstate.Wait(pid)
	if err != nil {
		done.Exit = plain.StatusFailure
		return done.Exit, fmt.Errorf("wait for the shell: %w", err)
	}
	done.Exit, done.TermSignal, done.Usage = end.Exit, end.Signal, usage(end)
	return done.Exit, nil
}

// usage converts what the shell used into the form of a span.
func usage(end procstate.Ending) trace.Usage {
	return trace.Usage{UserMS: end.UserMS, SysMS: end.SysMS, MaxRSSKB: end.MaxRSSKB}
}

// start starts the shell with the environment env. If our variables make that too long for the
// kernel, the shell gets given, which does not have them.
func (inv Invocation) start(path string, env, given []string, tap *capture.Tap) (pid int, err error) {
	argv := inv.argv(path)
	start := func() error {
		pid, err = procstate.Start(path, argv, env)
		if errors.Is(err, syscall.E2BIG) {
			pid, err = procstate.Start(path, argv, given)
		}
		return err
	}
	if tap != nil {
		return pid, tap.Around(start)
	}
	return pid, start()
}

// Exec replaces this program by the shell without recording it, for a shell on a terminal and for
// commands inside a world. With login it is a login shell, as login(1) starts it. Exec returns only
// on an error, with the exit status for it.
func Exec(cfg config.Config, inv Invocation, env []string, login bool) (status int, err error) {
	path, err := inv.shellPath(cfg, env)
	if err != nil {
		return plain.StatusNotFound, err
	}
	argv := inv.argv(path)
	if login {
		argv[0] = "-" + argv[0]
	}
	err = procstate.Exec(path, argv, env)
	return startStatus(err), fmt.Errorf("start %s: %w", path, err)
}

// startStatus is the exit status for a program that could not be executed.
func startStatus(err error) int {
	var errno syscall.Errno
	errors.As(err, &errno)
	return procstate.StartStatus(errno)
}

// argv is the argv of the shell at path.
func (inv Invocation) argv(path string) []string {
	return append([]string{filepath.Base(path)}, inv.Args...)
}

// shellPath is the path of the shell to start. A name without a slash is searched for along PATH.
// If that fails, the path is the name, for the span.
func (inv Invocation) shellPath(cfg config.Config, env []string) (string, error) {
	name := inv.Shell
	if name == "" {
		name = cfg.Shell
	}
	if strings.Contains(name, "/") {
		return name, nil
	}
	if path := search(name, env, 0o111); path != "" {
		return path, nil
	}
	return name, fmt.Errorf("shell %s: %w on PATH", name, errNotFound)
}

var errNotFound = errors.New("not found")

// search looks for a regular file with one of the bits of mode along the PATH of env; "" if there
// is none.
func search(name string, env []string, mode os.FileMode) string {
	for file := range environ.Candidates(environ.List(env).Get("PATH"), name) {
		if st, err := os.Stat(file); err == nil && st.Mode().IsRegular() && st.Mode()&mode != 0 {
			return filepath.Clean(file)
		}
	}
	return ""
}

// command is what the span says about the command.
func (inv Invocation) command(path string, env []string) record.Command {
	c := record.Command{
		Component: trace.ComponentShell,
		Shell:     path,
		ShellArgs: inv.Args,
		Umask:     record.UmaskUnknown,
		Env:       env,
	}
	switch inv.Kind {
	case FromCommand:
		c.Cmd = inv.Command
	case FromScript:
		c.Cmd = plain.Quoted(inv.Script)
		c.Script = readScript(inv.Script[0], env)
	case FromStdin:
		c.Cmd = stdinCmd
	}
	return c
}

// readScript finds a script as bash does: by its name, and if that has no slash and is not a file,
// along PATH. The shell reports if it cannot run it.
//
// Source: bash(1), ARGUMENTS.
func readScript(name string, env []string) *trace.Script {
	path := name
	if _, err := os.Stat(path); err != nil && !strings.Contains(name, "/") {
		if found := search(name, env, 0o444); found != "" {
			path = found
		}
	}
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	script, _ := record.Script(path) // without a hash if it could not be read
	return script
}
