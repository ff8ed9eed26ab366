#include "textflag.h"

#define SYS_rt_sigprocmask 14
#define SYS_clone 56
#define SYS_execve 59
#define SYS_arch_prctl 158
#define SYS_exit_group 231
#define SYS_clone3 435
#define SIG_SETMASK 2
#define ARCH_SET_FS 0x1002

// boot_entry is where the init process begins: the kernel has just executed the program. Compiled
// code that comes from assembly reads below the thread pointer which goroutine runs; none does.
//
// The linker adds up the stacks of functions that cannot grow theirs. It does not know that what
// initMain and interpret call has the stack of a process to itself, so their addresses are in
// variables.
TEXT boot_entry(SB), NOSPLIT|NOFRAME, $0
	MOVL	$SYS_arch_prctl, AX
	MOVL	$ARCH_SET_FS, DI
	LEAQ	·threadLocal+64(SB), SI
	SYSCALL
	ANDQ	$~15, SP
	SUBQ	$16, SP
	MOVQ	$0, 0(SP)		// where initMain would return to
	MOVQ	initMain<>(SB), AX
	JMP	AX

DATA initMain<>(SB)/8, $·initMain(SB)
GLOBL initMain<>(SB), RODATA, $8

// func entryAddress() uintptr
TEXT ·entryAddress(SB), NOSPLIT, $0-8
	MOVQ	$boot_entry(SB), AX
	MOVQ	AX, ret+0(FP)
	RET

// Offsets in struct spawning.
#define spawning_flags 0
#define spawning_pidFD 8
#define spawning_all 16
#define spawning_old 24
#define spawning_failed 32
#define spawning_calls 40

// func spawn(s *spawning) (pid int)
//
// The caller is suspended until the child has executed the program or exited. Both use the same
// stack and memory, so the child must not write to the stack, and no signal handler may run in it.
//
// Source: vfork(2); clone(2), CLONE_VFORK.
TEXT ·spawn(SB), NOSPLIT|NOFRAME, $0-16
	MOVQ	s+0(FP), R12
	MOVL	$SYS_rt_sigprocmask, AX
	MOVL	$SIG_SETMASK, DI
	LEAQ	spawning_all(R12), SI
	LEAQ	spawning_old(R12), DX
	MOVL	$8, R10			// size of a signal set
	SYSCALL

	MOVL	$SYS_clone, AX
	MOVQ	spawning_flags(R12), DI
	XORL	SI, SI			// the same stack
	LEAQ	spawning_pidFD(R12), DX
	XORL	R10, R10
	XORL	R8, R8
	SYSCALL
	TESTQ	AX, AX
	JZ	child

	MOVQ	AX, pid+8(FP)
	MOVL	$SYS_rt_sigprocmask, AX
	MOVL	$SIG_SETMASK, DI
	LEAQ	spawning_old(R12), SI
	XORL	DX, DX
	MOVL	$8, R10
	SYSCALL
	RET

child:
	LEAQ	spawning_calls(R12), BX
next:
	MOVQ	0(BX), AX
	MOVQ	8(BX), DI
	MOVQ	16(BX), SI
	MOVQ	24(BX), DX
	MOVQ	32(BX), R10
	XORL	R8, R8
	SYSCALL
	CMPQ	0(BX), $SYS_execve
	LEAQ	40(BX), BX
	JNE	next
	MOVQ	AX, spawning_failed(R12)
	MOVL	$SYS_exit_group, AX
	MOVL	$125, DI
	SYSCALL
	INT	$3			// not reached

// func cloneInto(args *cloneArgs, size uintptr, st *state) int
//
// This is clone3(2). The child has a stack of its own with nothing on it, so the argument of
// interpret comes over in a register, which the system call preserves.
TEXT ·cloneInto(SB), NOSPLIT|NOFRAME, $0-32
	MOVQ	args+0(FP), DI
	MOVQ	size+8(FP), SI
	MOVQ	st+16(FP), R12
	MOVL	$SYS_clone3, AX
	SYSCALL
	TESTQ	AX, AX
	JZ	command
	MOVQ	AX, ret+24(FP)
	RET
command:
	SUBQ	$32, SP
	MOVQ	$0, 0(SP)		// where interpret would return to
	MOVQ	R12, 8(SP)
	MOVQ	interpret<>(SB), AX
	JMP	AX

DATA interpret<>(SB)/8, $·interpret(SB)
GLOBL interpret<>(SB), RODATA, $8
