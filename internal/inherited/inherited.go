// Package inherited knows what this process was given before the Go runtime changed it.
//
// The runtime installs a handler for nearly every signal, so that a signal which the
// caller ignores is no longer ignored by the programs that we start; it opens /dev/null
// where standard input, output or error was closed; and package syscall raises the
// soft limit on open files. A shell must pass all three on as they were. The
// program is therefore entered at substrate_entry, a few instructions of assembly, one
// file for each architecture, which note the old state and then jump to the runtime's
// own entry.
//
// That needs the flag of the linker
//
//	go build -ldflags "-E substrate_entry"
//
// Without it, as in test binaries, everything here says that it is not known. What is
// done with the knowledge is left to the callers.
package inherited

import "syscall"

// These are written by the assembly, before any Go code runs, and only read afterwards.
var (
	ignored uint64    // bit n-1: signal n was ignored
	noFile  [2]uint64 // struct rlimit64: soft, hard
	closed  uint64    // bit n: file descriptor n was not open; only 0, 1 and 2 are asked about
	known   uint64    // 1 after the assembly ran
	action  [8]uint64 // scratch: struct kernel_sigaction, 32 bytes on both architectures
)

// Known says whether the program was entered at substrate_entry. Otherwise the other
// functions of this package know nothing.
func Known() bool { return known == 1 }

// Ignored returns the signals that the caller had set to SIG_IGN, as a set: bit n-1
// stands for signal n. It is 0 if that is not known.
//
// Source: signal(7), "Signal dispositions": ignored signals stay ignored over execve.
func Ignored() uint64 { return ignored }

// IsIgnored says whether the caller had set sig to SIG_IGN.
func IsIgnored(sig syscall.Signal) bool {
	return sig >= 1 && sig <= 64 && ignored&(1<<(sig-1)) != 0
}

// NoFile returns the limits on open files that the caller had. It is not ok if they are
// not known.
//
// Source: getrlimit(2), RLIMIT_NOFILE; package syscall raises the soft limit since Go 1.19.
func NoFile() (soft, hard uint64, ok bool) { return noFile[0], noFile[1], known == 1 }

// Closed says whether fd, one of 0, 1 and 2, was not open. It is false if that is not
// known.
func Closed(fd int) bool { return fd >= 0 && fd <= 2 && closed&(1<<fd) != 0 }
