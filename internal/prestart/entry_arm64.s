//go:build !noearly && !race

// The two programs begin here. See the package comment.

#include "textflag.h"

#define SYS_exit_group 94
#define SYS_rt_sigprocmask 135
#define SYS_prctl 167
#define SYS_clone 220
#define SYS_execve 221
#define SIG_SETMASK 2
#define PR_SET_PDEATHSIG 1
#define SIGKILL 9
#define CLONE_FLAGS 0x4111	// CLONE_VM | CLONE_VFORK | SIGCHLD

// The kernel has left the stack pointer at argc; the names of the arguments, the
// environment and the auxiliary vector follow. R0 means something to the C library.

// prestart_entry asks which program this is: cmd/*/program.s says 0 for substrate and 1 for
// substrate-shim. Then it calls the Go function that R26 points to, as compiled code calls a func value:
// R26 holds that pointer, R0, R1 and R2 the arguments, and R28 is the goroutine. There is no
// goroutine; all that compiled functions want of it is how far the stack may grow, and zero
// means that there is no end. The kernel lets it grow.
//
// Source: Go's internal ABI specification, "arm64 architecture".
TEXT prestart_entry(SB), NOSPLIT|NOFRAME, $0
	MOVD	·shellMain(SB), R26	// the variable points to the function's address, as all func values do
	MOVD	substrate_program(SB), R1
	CBZ	R1, program
	MOVD	·shimMain(SB), R26
program:
	MOVD	R0, R3
	MOVD	RSP, R0			// argc and what follows
	SUB	$112, RSP		// 0: of the caller; 8 to 79: where the function may put its register arguments
	MOVD	R0, 80(RSP)
	MOVD	R3, 88(RSP)
	MOVD	$call<>(SB), R1
	MOVD	$spawn<>(SB), R2
	MOVD	$nobody<>(SB), g		// that is R28
	MOVD	(R26), R16
	CALL	(R16)
	MOVD	88(RSP), R0		// it returned, so this is not the plain case:
	MOVD	80(RSP), R1
	MOVD	R1, RSP			// all as it was,
	JMP	inherited_entry(SB)	// and on to the ordinary beginning

// nobody stands for the goroutine (runtime.g).
GLOBL nobody<>(SB), RODATA|NOPTR, $64

// call is the func value of prestart_call.
DATA call<>(SB)/8, $prestart_call(SB)
GLOBL call<>(SB), RODATA, $8

// prestart_call is a func(number, a, b, c, d uintptr) int, called by compiled code: the arguments are in R0
// to R4, the result is in R0; R28 must stay. The kernel takes the number in R8 and arguments in R0
// to R5, and returns -errno in R0 by itself.
TEXT prestart_call(SB), NOSPLIT|NOFRAME, $0
	MOVD	R0, R8
	MOVD	R1, R0
	MOVD	R2, R1
	MOVD	R3, R2
	MOVD	R4, R3
	MOVD	$0, R4
	MOVD	$0, R5
	SVC
	RET

// spawn is the func value of prestart_spawn.
DATA spawn<>(SB)/8, $prestart_spawn(SB)
GLOBL spawn<>(SB), RODATA, $8

// Offsets in struct child.
#define child_path 0
#define child_argv 8
#define child_envp 16
#define child_mask 24
#define child_failed 32

// prestart_spawn is a func(*child) int64, called by compiled code: the argument and the result are in R0,
// R28 must stay.
//
// The parent is suspended until the child has executed the program or exited. Both use the
// same stack, so the child must not write to it: it makes no call and pushes nothing. No handler
// is installed, so no signal can make it do so either.
//
// Source: vfork(2); clone(2), CLONE_VFORK.
TEXT prestart_spawn(SB), NOSPLIT|NOFRAME, $0
	MOVD	R0, R9
	MOVD	$CLONE_FLAGS, R0
	MOVD	$0, R1			// the same stack
	MOVD	$0, R2
	MOVD	$0, R3
	MOVD	$0, R4
	MOVD	$SYS_clone, R8
	SVC
	CBZ	R0, child
	RET				// the child's id, or -errno

child:
	MOVD	$PR_SET_PDEATHSIG, R0	// the end of us by SIGKILL is its end too, as if it were us
	MOVD	$SIGKILL, R1
	MOVD	$SYS_prctl, R8
	SVC

	MOVD	$SIG_SETMASK, R0	// block what the caller of all this had blocked
	ADD	$child_mask, R9, R1
	MOVD	$0, R2
	MOVD	$8, R3			// size of a signal set
	MOVD	$SYS_rt_sigprocmask, R8
	SVC

	MOVD	child_path(R9), R0
	MOVD	child_argv(R9), R1
	MOVD	child_envp(R9), R2
	MOVD	$SYS_execve, R8
	SVC				// returns only if it failed
	MOVD	R0, child_failed(R9)	// in memory that the parent shares
	MOVD	$127, R0
	MOVD	$SYS_exit_group, R8
	SVC
	BRK				// not reached
