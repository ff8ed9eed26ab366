package procstate

import (
	"math/bits"
	"sync/atomic"
	"syscall"
)

// The relay passes signals on from within their handler, in assembly, and not through
// os/signal, for two reasons. The handler sees who sent a signal: one that a terminal
// sends goes to the command as well and must not reach it twice, one that a process
// sends to us alone must be passed on. And os/signal hands each signal between two threads,
// when it is asked for as well as when it arrives, which would be the most expensive part of
// starting a command. The Go runtime never learns of these signals, and need not.

// These are shared with the handler. A set has bit n-1 for signal n.
var (
	target uint64 // process id of the command; 0 while there is none
	early  uint64 // set of signals that came while there was none
	//lint:ignore U1000 read by the handler
	dropped uint64 // set of signals that are not passed on if this process caused them
	//lint:ignore U1000 read by the handler
	terminal uint64 // set of signals that are not passed on if the kernel sent them
)

// handlerAddresses returns where the handler of relay_*.s begins, and what a handler
// returns to; 0 if the kernel has a place of its own for that.
func handlerAddresses() (handler, restorer uintptr)

// CatchSignals begins to catch every signal that would end or stop this process and that
// the command should decide about. They wait for [PassSignalsTo]. What the caller had
// ignored is ignored. SIGPIPE and SIGXFSZ, which the kernel sends for what we write
// ourselves, are caught and dropped; those of other processes are passed on.
//
// Not touched are signals of faults, SIGCHLD, SIGURG and SIGPROF, which the runtime needs,
// and SIGCONT and SIGWINCH, which do no harm.
func CatchSignals() {
	dropped = bit(syscall.SIGPIPE) | bit(syscall.SIGXFSZ)
	terminal = bit(syscall.SIGINT) | bit(syscall.SIGQUIT) |
		bit(syscall.SIGTSTP) | bit(syscall.SIGTTIN) | bit(syscall.SIGTTOU)
	for sig := syscall.Signal(1); sig <= lastSignal; sig++ {
		if caught(sig) {
			catch(sig)
		}
	}
}

// Hold begins to catch sigs, which wait for [PassSignalsTo], whoever sends them. The function that
// it returns puts everything back as it was.
func Hold(sigs ...syscall.Signal) (release func()) {
	dropped, terminal = 0, 0
	atomic.StoreUint64(&target, 0)
	atomic.StoreUint64(&early, 0)
	before := make([]kernelAction, len(sigs))
	for i, sig := range sigs {
		rtSigaction(sig, nil, &before[i])
		catch(sig)
	}
	return func() {
		for i, sig := range sigs {
			setAction(sig, before[i])
		}
	}
}

// Held returns one of the signals that wait, 0 for none.
func Held() syscall.Signal {
	waiting := atomic.LoadUint64(&early)
	if waiting == 0 {
		return 0
	}
	return syscall.Signal(bits.TrailingZeros64(waiting) + 1)
}

// PassSignalsTo sends what is caught from now on, and what was caught before, to process
// pid. With 0 it is dropped from now on.
//
// The caller must see to it that pid is not yet reaped, so that the id is not another's.
func PassSignalsTo(pid int) {
	atomic.StoreUint64(&target, uint64(pid))
	if pid == 0 {
		return
	}
	waiting := atomic.SwapUint64(&early, 0)
	for sig := syscall.Signal(1); sig <= lastSignal; sig++ {
		if waiting&bit(sig) != 0 {
			_ = syscall.Kill(pid, sig) // it may be gone already
		}
	}
}

// StopBy stops this process by sig, one of the signals that stop a process, as if it were
// not caught, and returns when the process goes on.
//
// The caller must have locked its goroutine to its thread, because that thread must be
// the one that stops here.
func StopBy(sig syscall.Signal) {
	setAction(sig, kernelAction{})
	_, _, _ = syscall.RawSyscall(syscall.SYS_TGKILL,
		uintptr(syscall.Getpid()), uintptr(syscall.Gettid()), uintptr(sig))
	if caught(sig) {
		catch(sig)
	}
}

// catch installs the handler, or ignores sig if the caller did.
func catch(sig syscall.Signal) {
	if IsIgnored(sig) {
		setAction(sig, kernelAction{handler: sigIgn})
		return
	}
	a := kernelAction{flags: saSiginfo | saOnStack | saRestart, mask: ^uint64(0)}
	a.handler, a.restorer = handlerAddresses()
	if a.restorer != 0 {
		a.flags |= saRestorer
	}
	setAction(sig, a)
}

// caught reports whether CatchSignals catches sig.
func caught(sig syscall.Signal) bool {
	switch sig {
	case syscall.SIGKILL, syscall.SIGSTOP, // cannot be caught
		syscall.SIGILL, syscall.SIGTRAP, syscall.SIGBUS, syscall.SIGFPE, syscall.SIGSEGV, syscall.SIGSYS,
		syscall.SIGCHLD, syscall.SIGURG, syscall.SIGPROF, syscall.SIGCONT, syscall.SIGWINCH,
		32, 33: // used inside the C library
		return false
	}
	return true
}
