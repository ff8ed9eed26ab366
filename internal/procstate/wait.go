package procstate

import (
	"errors"
	"runtime"
	"syscall"
	"time"
	"unsafe"
)

// Ending is how a program that [Start] started has ended, and what it used.
type Ending struct {
	Exit     int // 128+n if signal n killed it
	Signal   int // n, or 0
	UserMS   int64
	SysMS    int64
	MaxRSSKB int64
}

// Values of waitid(2).
const (
	byPID      = 1 // P_PID
	whenEnded  = 0x4
	whenStop   = 0x2 // WSTOPPED
	whenGoesOn = 0x8 // WCONTINUED
	doNotWait  = 0x1 // WNOHANG
	doNotTake  = 0x01000000
)

// stopped is the only si_code that Wait looks for besides those of a child that ended.
const stopped = 5 // CLD_STOPPED

// childEvent is what waitid(2) says of a child: the head of siginfo_t.
type childEvent struct {
	signo, errno, code int32
	_                  int32
	pid                int32 // 0 if there is nothing to say
	_                  [108]byte
}

// Wait waits until the child pid has ended, and ends [PassSignalsTo] then. While the child is
// stopped this process is stopped too, by the same signal, so that the shell above sees its
// job stop; when it goes on, the child does. The error is a [syscall.Errno].
//
// Source: waitid(2), WNOWAIT; wait4(2).
func Wait(pid int) (Ending, error) {
	runtime.LockOSThread() // for StopBy
	defer runtime.UnlockOSThread()
	for {
		// Look first and leave the child a zombie: once it is reaped, another process
		// may take its id, and no signal must go there.
		event, err := waitid(pid, whenEnded|whenStop|doNotTake)
		if err != nil {
			return Ending{}, err
		}
		if event.code != stopped {
			PassSignalsTo(0)
		}
		var status syscall.WaitStatus
		var usage syscall.Rusage
		got, err := syscall.Wait4(pid, &status, syscall.WNOHANG|syscall.WUNTRACED, &usage)
		switch {
		case errors.Is(err, syscall.EINTR), err == nil && got == 0:
			continue
		case err != nil:
			return Ending{}, err
		case !status.Stopped():
			if status.Signaled() {
				killedBy = status.Signal()
			}
			return end(status, usage), nil
		}
		StopBy(status.StopSignal())
		goOn(pid)
	}
}

// goOn lets the child go on unless it does already: most often both of us were sent
// SIGCONT, and a command that has a trap for it should see it once.
func goOn(pid int) {
	event, err := waitid(pid, whenGoesOn|doNotWait)
	if err != nil || event.pid == 0 {
		_ = syscall.Kill(pid, syscall.SIGCONT) // it may have ended
	}
}

// killedBy is set by Wait: the signal that ended the program, or 0.
var killedBy syscall.Signal

// EndAsInterrupted ends this process by SIGINT if that is what ended the program that [Wait] waited
// for, and else returns. A shell that runs a script ends it on Ctrl-C only if the program that it
// waits for was ended by SIGINT. If that exits, also with status 130, the shell assumes that the
// program dealt with Ctrl-C, and goes on with the next command.
//
// Source: bash(1), SIGNALS; Martin Cracauer, "Proper handling of SIGINT/SIGQUIT".
func EndAsInterrupted() {
	if killedBy == syscall.SIGINT {
		EndBy(killedBy)
	}
}

// EndAsKilled ends this process by the signal that ended the program that [Wait] waited for, if one
// did. So the caller sees what it would see of the program itself: a shell says "Segmentation
// fault", and a parent that calls wait(2) learns the signal.
//
// Source: wait(2), WTERMSIG.
func EndAsKilled() {
	if killedBy != 0 {
		EndBy(killedBy)
	}
}

// EndBy ends this process by sig, also if sig is caught or blocked. It leaves no core: the core
// is that of the program. A core limit of 0 does not keep the kernel from passing a core to a
// program, so EndBy makes this process one that has none. It returns if the kernel spares this
// process, the first of a pid namespace.
//
// Source: core(5), "Piping core dumps to a program"; PR_SET_DUMPABLE(2const); pid_namespaces(7).
func EndBy(sig syscall.Signal) {
	runtime.LockOSThread()
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_DUMPABLE, 0, 0)
	setAction(sig, kernelAction{})
	unblock(sig)
	StopBy(sig)
}

// waitid returns what happened to the child.
func waitid(pid, options int) (event childEvent, err error) {
	for {
		_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, byPID, uintptr(pid),
			uintptr(unsafe.Pointer(&event)), uintptr(options), 0, 0)
		if errno == 0 {
			return event, nil
		}
		if errno != syscall.EINTR {
			return event, errno
		}
	}
}

// end takes apart what wait4 said.
func end(status syscall.WaitStatus, usage syscall.Rusage) Ending {
	e := Ending{
		Exit:     status.ExitStatus(),
		UserMS:   time.Duration(usage.Utime.Nano()).Milliseconds(),
		SysMS:    time.Duration(usage.Stime.Nano()).Milliseconds(),
		MaxRSSKB: usage.Maxrss,
	}
	if status.Signaled() {
		e.Signal = int(status.Signal())
		e.Exit = 128 + e.Signal
	}
	return e
}
