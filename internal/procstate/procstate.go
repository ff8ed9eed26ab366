// Package procstate hands on to a program what this process was given.
//
// The Go runtime changes it: a handler is installed for nearly every signal, so that a
// signal which the caller ignores is no longer ignored by the programs that we start;
// /dev/null is opened where standard input, output or error was closed; some blocked
// signals are unblocked; and package syscall raises the soft limit on open files.
// A shell must pass all of that on as it was. So the program is entered at
// inherited_entry, a few instructions of assembly, one file for each architecture, which
// note the old state and then jump to the runtime's own entry. That needs the flag of
// the linker
//
//	go build -ldflags "-E inherited_entry"
//
// Without it, as in test binaries, what is asked here is not known.
//
// [Start] and [Exec] run a program with the old state, [PassSignalsTo] passes on the signals
// that arrive while it runs, and [Wait] waits, stops and goes on with it. Which program that
// is, is left to the callers.
package procstate

import "syscall"

// These are written by the assembly, before any Go code runs, and only read afterwards.
var (
	ignored uint64    // bit n-1: signal n was ignored
	blocked uint64    // bit n-1: signal n was blocked
	noFile  [2]uint64 // struct rlimit64: soft, hard
	closed  uint64    // bit n: file descriptor n was not open; only 0, 1 and 2 are asked about
	known   uint64    // 1 after the assembly ran
	//lint:ignore U1000 used by the assembly
	action [4]uint64 // scratch: struct kernel_sigaction
)

// Known reports whether the program was entered at inherited_entry. Otherwise the other
// functions of this package know nothing.
func Known() bool { return known == 1 }

// Ignored returns the signals that the caller had set to SIG_IGN, as a set: bit n-1
// stands for signal n. It is 0 if that is not known.
//
// Source: signal(7), "Signal dispositions": ignored signals stay ignored over execve.
func Ignored() uint64 { return ignored }

// IsIgnored reports whether the caller had set sig to SIG_IGN.
func IsIgnored(sig syscall.Signal) bool {
	return sig >= 1 && sig <= lastSignal && ignored&bit(sig) != 0
}

// Blocked returns the signals that the caller had blocked, as a set like that of
// [Ignored]. It is 0 if that is not known.
//
// Source: signal(7), "Signal mask and pending signals": the mask is kept over execve.
func Blocked() uint64 { return blocked }

// NoFile returns the limits on open files that the caller had. It is not ok if they are
// not known.
//
// Source: getrlimit(2), RLIMIT_NOFILE; package syscall raises the soft limit since Go 1.19.
func NoFile() (soft, hard uint64, ok bool) { return noFile[0], noFile[1], known == 1 }

// Closed reports whether fd, one of 0, 1 and 2, was not open. It is false if that is not
// known.
func Closed(fd int) bool { return fd >= 0 && fd <= 2 && closed&(1<<fd) != 0 }

// lastSignal is the greatest number of a signal.
const lastSignal = 64

// bit is the set that holds sig alone.
func bit(sig syscall.Signal) uint64 { return 1 << (sig - 1) }
