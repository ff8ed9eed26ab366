#include "textflag.h"

#define SYS_close 57
#define SYS_exit_group 94
#define SYS_rt_sigaction 134
#define SYS_rt_sigprocmask 135
#define SYS_prctl 167
#define SYS_clone 220
#define SYS_execve 221
#define SYS_prlimit64 261
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
	MOVD	s+0(FP), R19

	MOVD	$SIG_SETMASK, R0	// block every signal
	ADD	$start_all, R19, R1
	ADD	$start_old, R19, R2	// and note what was blocked
	MOVD	$8, R3			// size of a signal set
	MOVD	$SYS_rt_sigprocmask, R8
	SVC

	MOVD	$CLONE_FLAGS, R0
	MOVD	$0, R1			// the same stack
	MOVD	$0, R2
	MOVD	$0, R3
	MOVD	$0, R4
	MOVD	$SYS_clone, R8
	SVC
	CBZ	R0, child
	MOVD	R0, R20			// the child's id, or -errno

	MOVD	$SIG_SETMASK, R0	// in the parent: block what was blocked before
	ADD	$start_old, R19, R1
	MOVD	$0, R2
	MOVD	$8, R3
	MOVD	$SYS_rt_sigprocmask, R8
	SVC
	MOVD	R20, ret+8(FP)
	RET

child:
	MOVD	$PR_SET_PDEATHSIG, R0	// the end of us by SIGKILL is its end too, as if it were us
	MOVD	$SIGKILL, R1
	MOVD	$SYS_prctl, R8
	SVC

	MOVD	start_ignored(R19), R21
	MOVD	$1, R20			// R20: the signal to set
signals:
	ADD	$start_dfl, R19, R1
	SUB	$1, R20, R5
	LSR	R5, R21, R6
	TBZ	$0, R6, set		// bit R20-1 of the set
	ADD	$start_ign, R19, R1
set:
	MOVD	R20, R0
	MOVD	$0, R2
	MOVD	$8, R3
	MOVD	$SYS_rt_sigaction, R8
	SVC				// fails for SIGKILL and SIGSTOP, as it should
	ADD	$1, R20, R20
	CMP	$64, R20
	BLE	signals

	MOVD	start_noFile(R19), R2
	CBZ	R2, files		// nil: leave the limits
	MOVD	$0, R0			// of this process
	MOVD	$RLIMIT_NOFILE, R1
	MOVD	$0, R3
	MOVD	$SYS_prlimit64, R8
	SVC

files:
	MOVD	start_closed(R19), R21
	MOVD	$0, R20			// R20: the descriptor to look at
file:
	LSR	R20, R21, R6
	TBZ	$0, R6, keep
	MOVD	R20, R0
	MOVD	$SYS_close, R8
	SVC
keep:
	ADD	$1, R20, R20
	CMP	$2, R20
	BLE	file

	MOVD	$SIG_SETMASK, R0	// no handler is left, so signals may come
	ADD	$start_blocked, R19, R1
	MOVD	$0, R2
	MOVD	$8, R3
	MOVD	$SYS_rt_sigprocmask, R8
	SVC

	MOVD	start_path(R19), R0
	MOVD	start_argv(R19), R1
	MOVD	start_envv(R19), R2
	MOVD	$SYS_execve, R8
	SVC				// returns only if it failed
	NEG	R0, R0
	MOVD	R0, start_errno(R19)	// in memory that the parent shares
	MOVD	$127, R0
	MOVD	$SYS_exit_group, R8
	SVC
	BRK				// not reached
