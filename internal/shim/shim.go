// Package shim is the program behind the links that come first on PATH.
//
// Each link has the name of a program. [Main] takes the name that it was called by, finds that
// program, records the run as a span, passes everything on, and ends as the program ended. It never
// takes another shim for the program. Package record decides how a span is written.
package shim

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"substrate/internal/config"
	"substrate/internal/logs"
	"substrate/internal/plain"
	"substrate/internal/prestart"
	"substrate/internal/procstate"
	"substrate/internal/record"
	"substrate/trace"
)

// Main runs the program with the name that this process was called by. It returns the exit status
// of the program, or 127 if there is none. If a signal killed the program, the same signal kills
// this process; if that fails, the status is 128+n. With SHIM_BYPASS=1, and inside a world, it
// executes the program in its place and records nothing.
//
// Source: SHM5, SHM6.
func Main() int {
	argv, env := os.Args, os.Environ()
	if len(argv) == 0 {
		complain("called without a name")
		return plain.StatusFailure
	}
	cfg := config.Load(env)
	name := filepath.Base(argv[0])
	if rest := prestart.Rest(); rest != nil {
		return finish(cfg, name, rest)
	}
	path, lookErr := find(name, cfg)
	if cfg.Bypass || cfg.InWorld {
		return become(name, path, lookErr, argv, env)
	}
	status := recorded(cfg, name, path, lookErr, argv, env)
	procstate.EndAsKilled()
	return status
}

// finish ends a run that package prestart began.
func finish(cfg config.Config, name string, rest *prestart.Unfinished) int {
	newRecorder(cfg).Finish(rest.Line)
	switch {
	case rest.Err != 0 && rest.Path != "":
		return refuse(name, &os.PathError{Op: "start", Path: rest.Path, Err: rest.Err})
	case rest.Err != 0:
		complain("wait for " + name + ": " + rest.Err.Error())
	case rest.Signal != 0:
		procstate.EndBy(syscall.Signal(rest.Signal))
	}
	return rest.Exit
}

// newRecorder returns a recorder that warns on standard error.
func newRecorder(cfg config.Config) *record.Recorder {
	return record.New(cfg, func(err error) { complain("warning: " + err.Error()) })
}

// become executes the program in place of this one. It returns only on failure.
func become(name, path string, lookErr error, argv, env []string) int {
	if lookErr != nil {
		return refuse(name, lookErr)
	}
	err := procstate.Exec(path, withOwnName(path, argv), env)
	if errors.Is(err, syscall.ENOEXEC) {
		err = procstate.Exec(plain.ScriptShell, scriptArgv(path, argv), env)
	}
	return refuse(name, &os.PathError{Op: "start", Path: path, Err: err})
}

// recorded runs the program and records a span.
func recorded(cfg config.Config, name, path string, lookErr error, argv, env []string) (status int) {
	procstate.CatchSignals()
	if cfg.Log != "" {
		startLogs(cfg.Log)
		logs.For("shim").Debug("run", "name", name, "path", path, "depth", cfg.Depth, "caller", cfg.Caller, "error", lookErr)
	}
	span := newRecorder(cfg).Begin(record.Command{
		Component: trace.ComponentShim,
		Cmd:       plain.Quoted(argv), Argv: argv, Resolved: path, Name: name,
		Umask: record.UmaskUnknown, Env: env,
	})
	var done trace.Completion
	defer func() {
		done.Exit = status
		done.DurationMS = span.Elapsed().Milliseconds()
		span.End(done)
	}()
	if lookErr != nil {
		return refuse(name, lookErr)
	}
	pid, err := start(path, withOwnName(path, argv), exported(span.Environ(env), cfg), env)
	if err != nil {
		return refuse(name, &os.PathError{Op: "start", Path: path, Err: err})
	}
	procstate.PassSignalsTo(pid)
	end, err := procstate.Wait(pid)
	if err != nil {
		complain("wait for " + name + ": " + err.Error())
		return plain.StatusFailure
	}
	done.TermSignal = end.Signal
	if cfg.Log != "" {
		logs.For("shim").Debug("ended", "name", name, "pid", pid, "exit", end.Exit, "signal", end.Signal)
	}
	done.Usage = trace.Usage{UserMS: end.UserMS, SysMS: end.SysMS, MaxRSSKB: end.MaxRSSKB}
	return end.Exit
}

// startLogs applies SUBSTRATE_LOG (PKG8). Errors are ignored: substrate reports a wrong value, and
// each shim would repeat it.
func startLogs(setting string) { _ = logs.Setup(setting, stderr{}) }

// stderr is standard error without os.File, which would let SIGPIPE end the shim.
type stderr struct{}

// Write never fails: if nobody reads the line it is lost.
func (stderr) Write(line []byte) (int, error) {
	_, _ = syscall.Write(2, line)
	return len(line), nil
}

// withOwnName returns the argv for the program at path: that of the shim, except for Python, which
// gets its own path. Python searches PATH for argv[0] to find its virtual environment. It would
// find the shim and miss the environment.
//
// Source: Python, "sys — sys.executable, sys.prefix"; PEP 405.
func withOwnName(path string, argv []string) []string {
	called := argv[0]
	if !strings.HasPrefix(filepath.Base(called), plain.Python) || strings.Contains(called, "/") && !isShim(called) {
		return argv
	}
	return append([]string{path}, argv[1:]...)
}

// scriptArgv returns the argv of plain.ScriptShell for the script at path.
func scriptArgv(path string, argv []string) []string {
	return append([]string{plain.ScriptShell, path}, argv[1:]...)
}

// start starts the program at path. If the environment is too long with our few variables, the
// program gets the environment that the shim was given.
func start(path string, argv, env, given []string) (pid int, err error) {
	pid, err = procstate.Start(path, argv, env)
	switch {
	case errors.Is(err, syscall.ENOEXEC):
		return procstate.Start(plain.ScriptShell, scriptArgv(path, argv), env)
	case errors.Is(err, syscall.E2BIG):
		return procstate.Start(path, argv, given)
	}
	return pid, err
}

// exported adds SHIM_ORIGINAL_PATH to env unless it is there, so that shims below find the same
// programs.
func exported(env []string, cfg config.Config) []string {
	if cfg.OriginalPath != "" || cfg.Path == "" {
		return env
	}
	_, original := config.ShimsFirst(cfg.Path, cfg.ShimDir)
	return append(env, plain.VarOriginalPath+"="+original)
}

// refuse reports why nothing can be run, and returns the exit status for that.
func refuse(name string, err error) int {
	complain(name + ": " + err.Error())
	if errors.Is(err, errNotFound) {
		return plain.StatusNotFound
	}
	var errno syscall.Errno
	errors.As(err, &errno)
	return procstate.StartStatus(errno)
}

// complain writes one line to standard error.
func complain(text string) {
	_, _ = syscall.Write(2, []byte(plain.ShimProgram+": "+text+"\n")) // there is nowhere else to report an error
}
