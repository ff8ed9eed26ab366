// The program begins here. See the package comment.

#include "textflag.h"

#define SYS_rt_sigaction 13
#define SYS_rt_sigprocmask 14
#define SYS_fcntl 72
#define SYS_prlimit64 302
#define SIG_IGN 1
#define RLIMIT_NOFILE 7
#define F_GETFD 1

// inherited_entry runs without a stack of its own, without thread-local storage and
// without a runtime: it may use registers, system calls and the variables of this
// package, nothing else. A system call takes its number in AX and its arguments in
// DI, SI, DX, R10, and changes AX, CX and R11 alone.
//
// Source: System V ABI, AMD64 supplement, 3.4.1 "Initial Stack and Register State" and
// A.2.1 "Calling Conventions" of the kernel.
TEXT inherited_entry(SB), NOSPLIT|NOFRAME, $0
	MOVQ	DX, R12			// the ABI gives DX a meaning at entry; hand it on

	XORL	R13, R13		// R13: set of ignored signals
	MOVL	$1, BX			// BX: the signal that is asked about
signals:
	MOVL	$SYS_rt_sigaction, AX
	MOVL	BX, DI			// of this signal
	XORL	SI, SI			// set nothing
	LEAQ	·action(SB), DX		// tell what is set
	MOVL	$8, R10			// size of a signal set
	SYSCALL
	TESTQ	AX, AX
	JNZ	next			// no such signal
	CMPQ	·action(SB), $SIG_IGN	// the first word is the handler
	JNE	next
	LEAQ	-1(BX), CX
	BTSQ	CX, R13			// set bit BX-1
next:
	INCL	BX
	CMPL	BX, $64
	JLE	signals
	MOVQ	R13, ·ignored(SB)

	MOVL	$SYS_rt_sigprocmask, AX
	XORL	DI, DI
	XORL	SI, SI			// set nothing
	LEAQ	·blocked(SB), DX	// tell what is set
	MOVL	$8, R10			// size of a signal set
	SYSCALL

	MOVL	$SYS_prlimit64, AX
	XORL	DI, DI			// of this process
	MOVL	$RLIMIT_NOFILE, SI
	XORL	DX, DX			// set nothing
	LEAQ	·noFile(SB), R10	// tell what is set
	SYSCALL

	XORL	R13, R13		// R13: set of closed descriptors
	XORL	BX, BX			// BX: the descriptor that is asked about
files:
	MOVL	$SYS_fcntl, AX
	MOVL	BX, DI
	MOVL	$F_GETFD, SI
	SYSCALL
	TESTQ	AX, AX
	JNS	open			// not negative: it is open
	BTSQ	BX, R13
open:
	INCL	BX
	CMPL	BX, $2
	JLE	files
	MOVQ	R13, ·closed(SB)

	MOVQ	$1, ·known(SB)
	MOVQ	R12, DX
	JMP	_rt0_amd64_linux(SB)	// the stack pointer was never touched
