#include "textflag.h"

#define SYS_close 3
#define SYS_rt_sigaction 13
#define SYS_rt_sigprocmask 14
#define SYS_clone 56
#define SYS_execve 59
#define SYS_prctl 157
#define SYS_exit_group 231
#define SYS_prlimit64 302
#define SIG_SETMASK 2
#define RLIMIT_NOFILE 7
#define PR_SET_PDEATHSIG 1
#define SIGKILL 9
#define CLONE_FLAGS 0x4111	// CLONE_VM | CLONE_VFORK | SIGCHLD

// Offsets in struct start.
#define start_path 0
#define start_argv 8
#define start_envv 16
#define start_ignored 24
#define start_blocked 32
#define start_closed 40
#define start_noFile 48
#define start_all 56
#define start_old 64
#define start_errno 72
#define start_dfl 80
#define start_ign 112

// func vfork(s *start) int64
//
// The parent is suspended until the child has executed the program or exited. Both use the
// same stack, so the child must not write to it: it makes no call and pushes nothing. No
// signal can interrupt it, because all are blocked until every handler is gone.
//
// Source: vfork(2); clone(2), CLONE_VFORK.
TEXT ·vfork(SB), NOSPLIT|NOFRAME, $0-16
	MOVQ	s+0(FP), R12

	MOVL	$SYS_rt_sigprocmask, AX	// block every signal
	MOVL	$SIG_SETMASK, DI
	LEAQ	start_all(R12), SI
	LEAQ	start_old(R12), DX	// and note what was blocked
	MOVL	$8, R10			// size of a signal set
	SYSCALL

	MOVL	$SYS_clone, AX
	MOVL	$CLONE_FLAGS, DI
	XORL	SI, SI			// the same stack
	XORL	DX, DX
	XORL	R10, R10
	XORL	R8, R8
	SYSCALL
	TESTQ	AX, AX
	JZ	child
	MOVQ	AX, R13			// the child's id, or -errno

	MOVL	$SYS_rt_sigprocmask, AX	// in the parent: block what was blocked before
	MOVL	$SIG_SETMASK, DI
	LEAQ	start_old(R12), SI
	XORL	DX, DX
	MOVL	$8, R10
	SYSCALL
	MOVQ	R13, ret+8(FP)
	RET

child:
	MOVL	$SYS_prctl, AX		// the end of us by SIGKILL is its end too, as if it were us
	MOVL	$PR_SET_PDEATHSIG, DI
	MOVL	$SIGKILL, SI
	SYSCALL

	MOVQ	start_ignored(R12), R13
	MOVL	$1, BX			// BX: the signal to set
signals:
	LEAQ	start_dfl(R12), SI
	LEAQ	-1(BX), CX
	BTQ	CX, R13			// carry: bit BX-1 of the set
	JCC	set
	LEAQ	start_ign(R12), SI
set:
	MOVL	$SYS_rt_sigaction, AX
	MOVL	BX, DI
	XORL	DX, DX
	MOVL	$8, R10
	SYSCALL				// fails for SIGKILL and SIGSTOP, as it should
	INCL	BX
	CMPL	BX, $64
	JLE	signals

	MOVQ	start_noFile(R12), DX
	TESTQ	DX, DX
	JZ	files			// nil: leave the limits
	MOVL	$SYS_prlimit64, AX
	XORL	DI, DI			// of this process
	MOVL	$RLIMIT_NOFILE, SI
	XORL	R10, R10
	SYSCALL

files:
	MOVQ	start_closed(R12), R13
	XORL	BX, BX			// BX: the descriptor to look at
file:
	BTQ	BX, R13
	JCC	keep
	MOVL	$SYS_close, AX
	MOVL	BX, DI
	SYSCALL
keep:
	INCL	BX
	CMPL	BX, $2
	JLE	file

	MOVL	$SYS_rt_sigprocmask, AX	// no handler is left, so signals may come
	MOVL	$SIG_SETMASK, DI
	LEAQ	start_blocked(R12), SI
	XORL	DX, DX
	MOVL	$8, R10
	SYSCALL

	MOVL	$SYS_execve, AX
	MOVQ	start_path(R12), DI
	MOVQ	start_argv(R12), SI
	MOVQ	start_envv(R12), DX
	SYSCALL				// returns only if it failed
	NEGQ	AX
	MOVQ	AX, start_errno(R12)	// in memory that the parent shares
	MOVL	$SYS_exit_group, AX
	MOVL	$127, DI
	SYSCALL
	INT	$3			// not reached
