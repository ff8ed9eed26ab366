//go:build !noearly && !race

// The two programs begin here. See the package comment.

#include "textflag.h"

#define SYS_rt_sigprocmask 14
#define SYS_clone 56
#define SYS_execve 59
#define SYS_prctl 157
#define SYS_exit_group 231
#define PR_SET_PDEATHSIG 1
#define SIGKILL 9
#define SIG_SETMASK 2
#define CLONE_FLAGS 0x4111	// CLONE_VM | CLONE_VFORK | SIGCHLD

// The kernel has left the stack pointer at argc; the names of the arguments, the
// environment and the auxiliary vector follow. DX means something to the C library.
//
// Source: System V ABI, AMD64 supplement, 3.4.1 "Initial Stack and Register State".

// prestart_entry asks which program this is: cmd/*/program.s says 0 for substrate and 1 for
// substrate-shim. Then it calls the Go function that R12 points to, as compiled code calls a func value:
// DX holds that pointer, AX, BX and CX the arguments, X15 is zero and R14 is the goroutine. There is no
// goroutine; all that compiled functions want of it is how far the stack may grow, and zero
// means that there is no end. The kernel lets it grow. The function must not call one that is
// written in assembly by its name, because after that the compiler takes R14 from
// thread-local storage, which does not exist yet; so it gets two of them as func values.
//
// Source: Go's internal ABI specification, "amd64 architecture".
TEXT prestart_entry(SB), NOSPLIT|NOFRAME, $0
	MOVQ	·shellMain(SB), R12	// the variable points to the function's address, as all func values do
	CMPQ	substrate_program(SB), $0
	JEQ	program
	MOVQ	·shimMain(SB), R12
program:
	MOVQ	SP, AX			// argc and what follows
	SUBQ	$96, SP			// 0 to 63: where the function may put its register arguments
	MOVQ	AX, 64(SP)
	MOVQ	DX, 72(SP)
	LEAQ	call<>(SB), BX
	LEAQ	spawn<>(SB), CX
	MOVQ	R12, DX
	LEAQ	nobody<>(SB), R14
	XORPS	X15, X15
	CALL	(DX)
	MOVQ	72(SP), DX		// it returned, so this is not the plain case:
	MOVQ	64(SP), SP		// all as it was,
	JMP	inherited_entry(SB)	// and on to the ordinary beginning

// nobody stands for the goroutine (runtime.g).
GLOBL nobody<>(SB), RODATA|NOPTR, $64

// call is the func value of prestart_call.
DATA call<>(SB)/8, $prestart_call(SB)
GLOBL call<>(SB), RODATA, $8

// prestart_call is a func(number, a, b, c, d uintptr) int, called by compiled code: the arguments are in AX,
// BX, CX, DI and SI, the result is in AX; R14 and X15 must stay. The kernel takes the number in AX and
// arguments in DI, SI, DX, R10, R8 and R9, and returns -errno in AX by itself.
TEXT prestart_call(SB), NOSPLIT|NOFRAME, $0
	MOVQ	DI, DX
	MOVQ	SI, R10
	MOVQ	BX, DI
	MOVQ	CX, SI
	XORL	R8, R8
	XORL	R9, R9
	SYSCALL
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

// prestart_spawn is a func(*child) int64, called by compiled code: the argument and the result are in AX,
// R14 and X15 must stay.
//
// The parent is suspended until the child has executed the program or exited. Both use the
// same stack, so the child must not write to it: it makes no call and pushes nothing. No handler
// is installed, so no signal can make it do so either.
//
// Source: vfork(2); clone(2), CLONE_VFORK.
TEXT prestart_spawn(SB), NOSPLIT|NOFRAME, $0
	MOVQ	AX, R12
	MOVL	$SYS_clone, AX
	MOVL	$CLONE_FLAGS, DI
	XORL	SI, SI			// the same stack
	XORL	DX, DX
	XORL	R10, R10
	XORL	R8, R8
	SYSCALL
	TESTQ	AX, AX
	JZ	child
	RET				// the child's id, or -errno

child:
	MOVL	$SYS_prctl, AX		// the end of us by SIGKILL is its end too, as if it were us
	MOVL	$PR_SET_PDEATHSIG, DI
	MOVL	$SIGKILL, SI
	SYSCALL

	MOVL	$SYS_rt_sigprocmask, AX	// block what the caller of all this had blocked
	MOVL	$SIG_SETMASK, DI
	LEAQ	child_mask(R12), SI
	XORL	DX, DX
	MOVL	$8, R10			// size of a signal set
	SYSCALL

	MOVL	$SYS_execve, AX
	MOVQ	child_path(R12), DI
	MOVQ	child_argv(R12), SI
	MOVQ	child_envp(R12), DX
	SYSCALL				// returns only if it failed
	MOVQ	AX, child_failed(R12)	// in memory that the parent shares
	MOVL	$SYS_exit_group, AX
	MOVL	$127, DI
	SYSCALL
	INT	$3			// not reached
