package prestart

import "syscall"

// signals waits for a child with all signals blocked, and takes them one by one. It needs no
// handler, so what the caller ignores stays ignored, here and in the child.
type signals struct {
	before uint64 // what the caller had blocked
	wanted uint64 // what is taken here
	first  uint64 // what came before there was a child: the terminal did not send that to the child
	chosen uint64
	usage  syscall.Rusage
	info   signalInfo
	action [4]uint64 // struct kernel_sigaction
	old    [4]uint64
}

// signalInfo is siginfo_t.
//
// Source: sigaction(2); waitid(2).
type signalInfo struct {
	_, _, code, _, pid int32 // the first two are signo and errno
	_                  [108]byte
}

// set is the set that holds sig alone.
func set(sig int) uint64 { return 1 << uint(sig-1) }

// block begins to hold signals back. It returns false if the caller ignores SIGCHLD: children of
// such a process leave no status.
func (s *signals) block() bool {
	if call(syscall.SYS_RT_SIGACTION, uintptr(syscall.SIGCHLD), 0, address(&s.old), setSize) != 0 || s.old[0] == sigIgn {
		return false
	}
	s.chosen = ^uint64(0)
	call(syscall.SYS_RT_SIGPROCMASK, sigSetMask, address(&s.chosen), address(&s.before), setSize)
	s.wanted = ^s.before&^(set(int(syscall.SIGCONT))|set(int(syscall.SIGWINCH))|set(int(syscall.SIGURG))) | set(int(syscall.SIGCHLD))
	return true
}

// unblock takes back block. It first drops sig, which our own writing may have caused.
func (s *signals) unblock(sig syscall.Signal) {
	var now syscall.Timespec
	s.chosen = set(int(sig))
	call(syscall.SYS_RT_SIGTIMEDWAIT, address(&s.chosen), address(&s.info), address(&now), setSize)
	call(syscall.SYS_RT_SIGPROCMASK, sigSetMask, address(&s.before), 0, setSize)
}

// wait waits until the child has ended, and returns its wait status, or -errno. Meanwhile it passes
// signals on, and stops and continues with the child, as procstate.Wait and
// procstate.PassSignalsTo do.
func (s *signals) wait(pid int) int {
	for {
		sig := call(syscall.SYS_RT_SIGTIMEDWAIT, address(&s.wanted), address(&s.info), 0, setSize)
		if sig > 0 && sig != int(syscall.SIGCHLD) {
			s.pass(sig, pid)
			continue
		}
		var status int32
		got := retry(syscall.SYS_WAIT4, uintptr(pid), address(&status), syscall.WNOHANG|syscall.WUNTRACED, address(&s.usage))
		switch {
		case got < 0:
			return got
		case got == 0: // another child, or it goes on
		case status&0xff == 0x7f:
			s.stopBy(int(status>>8) & 0xff)
			s.goOn(pid)
		default:
			return int(status)
		}
	}
}

// pass sends a signal on to the child, unless the terminal sent it to the child too or this process
// ignores it.
func (s *signals) pass(sig, pid int) {
	fromKernel := s.info.code > 0 && s.first&set(sig) == 0
	s.first &^= set(sig)
	switch syscall.Signal(sig) {
	case syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU:
		if fromKernel {
			return
		}
	}
	if call(syscall.SYS_RT_SIGACTION, uintptr(sig), 0, address(&s.old), setSize) != 0 || s.old[0] != sigIgn {
		call(syscall.SYS_KILL, uintptr(pid), uintptr(sig), 0, 0)
	}
}

// stopBy stops this process by a signal, so that the shell above sees its job stop. It returns when
// the process continues.
func (s *signals) stopBy(sig int) {
	call(syscall.SYS_RT_SIGACTION, uintptr(sig), address(&s.action), address(&s.old), setSize) // the default
	call(syscall.SYS_KILL, uintptr(call(syscall.SYS_GETPID, 0, 0, 0, 0)), uintptr(sig), 0, 0)
	s.chosen = set(sig)
	call(syscall.SYS_RT_SIGPROCMASK, sigUnblock, address(&s.chosen), 0, setSize) // here
	call(syscall.SYS_RT_SIGPROCMASK, sigBlock, address(&s.chosen), 0, setSize)
	call(syscall.SYS_RT_SIGACTION, uintptr(sig), address(&s.old), 0, setSize)
}

// goOn continues the child unless it runs already: most often both processes were sent SIGCONT, and
// a program that has a handler for it should see it once.
func (s *signals) goOn(pid int) {
	s.info.pid = 0
	r := call(syscall.SYS_WAITID, waitByPID, uintptr(pid), address(&s.info), waitGoesOn|syscall.WNOHANG)
	if r != 0 || s.info.pid == 0 {
		call(syscall.SYS_KILL, uintptr(pid), uintptr(syscall.SIGCONT), 0, 0)
	}
}
