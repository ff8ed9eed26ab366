#include "textflag.h"

#define SYS_rt_sigreturn 15
#define SYS_getpid 39
#define SYS_kill 62

#define siginfo_code 8	// offset of si_code: positive if the kernel sent the signal, else a process
#define siginfo_pid 16	// offset of si_pid: that of our own if our writing caused it

// relay is the handler that the kernel calls with the signal in DI and its siginfo in SI,
// on the thread's signal stack. It may use the registers that a C function may use, and
// calls nothing of Go.
//
// Source: sigaction(2), "The siginfo_t argument to a SA_SIGINFO handler".
TEXT ·relay(SB), NOSPLIT|NOFRAME, $0
	LEAL	-1(DI), R8		// R8: bit of the signal in a set
	MOVQ	·dropped(SB), AX
	BTQ	R8, AX
	JCC	meant
	MOVL	$SYS_getpid, AX
	SYSCALL
	CMPL	AX, siginfo_pid(SI)
	JEQ	done			// our own writing caused it
meant:
	MOVQ	·target(SB), R9		// R9: process that gets it
	TESTQ	R9, R9
	JNZ	started
	LOCK
	BTSQ	R8, ·early(SB)		// nobody is there yet: note it
	MOVQ	·target(SB), R9		// somebody may have come in between
	TESTQ	R9, R9
	JZ	done
started:
	CMPL	siginfo_code(SI), $0
	JLE	send			// sent by a process, to us alone as far as we know
	MOVQ	·terminal(SB), AX
	BTQ	R8, AX
	JCS	done			// sent by the terminal, to the command too
send:
	MOVL	$SYS_kill, AX
	MOVL	DI, SI
	MOVL	R9, DI
	SYSCALL
done:
	RET				// to restorer

// restorer ends the handling of a signal.
TEXT ·restorer(SB), NOSPLIT|NOFRAME, $0
	MOVL	$SYS_rt_sigreturn, AX
	SYSCALL
	INT	$3			// not reached

// func handlerAddresses() (handler, restorer uintptr)
TEXT ·handlerAddresses(SB), NOSPLIT, $0-16
	LEAQ	·relay(SB), AX
	MOVQ	AX, handler+0(FP)
	LEAQ	·restorer(SB), AX
	MOVQ	AX, restorer+8(FP)
	RET
