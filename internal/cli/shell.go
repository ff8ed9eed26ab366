package cli

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"unsafe"

	"substrate/internal/prestart"
	"substrate/internal/procstate"
	"substrate/internal/record"
	"substrate/internal/shell"
	"substrate/internal/shim"
	"substrate/internal/version"
)

// runShell runs what bash would run with the same arguments, and records it.
func (a *app) runShell() int {
	inv, err := shell.Parse(a.args)
	if err != nil {
		f := &failure{err: err, status: exitUsage, hint: "run `substrate --help`"}
		if errors.Is(err, shell.ErrNotYet) {
			f.hint = ""
		}
		return a.report(f)
	}
	login := strings.HasPrefix(a.name, "-")
	if a.cfg.InWorld {
		return a.exec(inv, login)
	}
	if inv.Kind == shell.FromStdin && a.stdinIsTerminal() {
		a.hint("this session is not recorded; `substrate -c CMD` records a command")
		return a.exec(inv, login)
	}
	a.warnSettings(false)
	if !inv.SkipShims && shim.Ensure(a.cfg, a.env) {
		inv.ShimDir = a.cfg.ShimDir
	}
	rec := record.New(a.cfg, func(err error) { a.warn("%v", err) })
	status, err := shell.Run(a.cfg, rec, inv, a.env)
	if err != nil {
		return a.report(&failure{err: err, status: status})
	}
	procstate.EndAsInterrupted()
	return status
}

// finish ends a command that package prestart ran.
func (a *app) finish(rest *prestart.Unfinished) int {
	record.New(a.cfg, func(err error) { a.warn("%v", err) }).Finish(rest.Line)
	switch {
	case rest.Err != 0 && rest.Path != "":
		return a.report(&failure{err: fmt.Errorf("start %s: %w", rest.Path, rest.Err), status: rest.Exit})
	case rest.Err != 0:
		return a.report(&failure{err: fmt.Errorf("wait for the shell: %w", rest.Err), status: rest.Exit})
	case rest.Signal == int(syscall.SIGINT):
		procstate.EndBy(syscall.SIGINT)
	}
	return rest.Exit
}

// exec replaces this program by the shell.
func (a *app) exec(inv shell.Invocation, login bool) int {
	status, err := shell.Exec(a.cfg, inv, a.env, login)
	return a.report(&failure{err: err, status: status})
}

// stdinIsTerminal reports whether standard input is a terminal.
//
// Source: isatty(3).
func (a *app) stdinIsTerminal() bool {
	var termios [64]byte
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, 0, syscall.TCGETS, uintptr(unsafe.Pointer(&termios)))
	return errno == 0
}

// translate turns --replay SPAN, --trace SPAN, --doctor and --shim-… into the subcommands that they
// stand for. Other flags stay as they are. It reports whether args has any of them.
func translate(args []string) ([]string, bool, error) {
	if len(args) == 0 || !strings.HasPrefix(args[0], "--") || args[0] == "--" || shell.IsOption(args[0]) {
		return nil, false, nil
	}
	switch args[0] {
	case "--doctor":
		return append([]string{"world", "doctor"}, args[1:]...), true, nil
	case "--shim-deploy", "--shim-status", "--shim-remove":
		return append([]string{"shim", args[0][len("--shim-"):]}, args[1:]...), true, nil
	}
	for i, arg := range args {
		if arg == "--" || arg == "-c" {
			break
		}
		name, value, hasValue := strings.Cut(arg, "=")
		if name != "--replay" && name != "--trace" {
			continue
		}
		rest := args[i+1:]
		if !hasValue {
			if len(rest) == 0 {
				return nil, true, usagef("option %s needs a span id, or `last`", name)
			}
			value, rest = rest[0], rest[1:]
		}
		return spelledOut(name, value, append(append([]string(nil), args[:i]...), rest...)), true, nil
	}
	return nil, false, nil
}

// spelledOut returns the subcommand that --replay or --trace stands for.
func spelledOut(name, span string, flags []string) []string {
	words := []string{"replay"}
	if name == "--trace" {
		words = []string{"trace", "show"}
	}
	for _, f := range flags {
		if f == "--replay-verbose" {
			f = "--verbose"
		}
		words = append(words, f)
	}
	return append(words, span)
}

// versionText is what --version prints.
func versionText() string { return fmt.Sprintf("substrate %s\n", version.Version) }
