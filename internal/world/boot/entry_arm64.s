#include "textflag.h"

#define SYS_exit_group 94
#define SYS_rt_sigprocmask 135
#define SYS_clone 220
#define SYS_execve 221
#define SYS_clone3 435
#define SIG_SETMASK 2

// boot_entry is where the init process begins: the kernel has just executed the program. Compiled
// code that comes from assembly reads below the thread pointer which goroutine runs; none does.
//
// The linker adds up the stacks of functions that cannot grow theirs. It does not know that what
// initMain and interpret call has the stack of a process to itself, so their addresses are in
// variables.
TEXT boot_entry(SB), NOSPLIT|NOFRAME, $0
	MOVD	$·threadLocal+64(SB), R0
	MSR	R0, TPIDR_EL0
	MOVD	RSP, R0
	AND	$~15, R0
	SUB	$32, R0
	MOVD	R0, RSP
	MOVD	ZR, g
	MOVD	ZR, R30			// where initMain would return to
	MOVD	initMain<>(SB), R0
	JMP	(R0)

DATA initMain<>(SB)/8, $·initMain(SB)
GLOBL initMain<>(SB), RODATA, $8

// func entryAddress() uintptr
TEXT ·entryAddress(SB), NOSPLIT, $0-8
	MOVD	$boot_entry(SB), R0
	MOVD	R0, ret+0(FP)
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
	MOVD	s+0(FP), R19
	MOVD	$SIG_SETMASK, R0
	ADD	$spawning_all, R19, R1
	ADD	$spawning_old, R19, R2
	MOVD	$8, R3			// size of a signal set
	MOVD	$SYS_rt_sigprocmask, R8
	SVC

	MOVD	spawning_flags(R19), R0
	MOVD	$0, R1			// the same stack
	ADD	$spawning_pidFD, R19, R2
	MOVD	$0, R3
	MOVD	$0, R4
	MOVD	$SYS_clone, R8
	SVC
	CBZ	R0, child

	MOVD	R0, pid+8(FP)
	MOVD	$SIG_SETMASK, R0
	ADD	$spawning_old, R19, R1
	MOVD	$0, R2
	MOVD	$8, R3
	MOVD	$SYS_rt_sigprocmask, R8
	SVC
	RET

child:
	ADD	$spawning_calls, R19, R20
next:
	MOVD	0(R20), R8
	MOVD	8(R20), R0
	MOVD	16(R20), R1
	MOVD	24(R20), R2
	MOVD	32(R20), R3
	MOVD	$0, R4
	SVC
	MOVD	0(R20), R8
	ADD	$40, R20
	CMP	$SYS_execve, R8
	BNE	next
	MOVD	R0, spawning_failed(R19)
	MOVD	$125, R0
	MOVD	$SYS_exit_group, R8
	SVC
	BRK				// not reached

// func cloneInto(args *cloneArgs, size uintptr, st *state) int
//
// This is clone3(2). The child has a stack of its own with nothing on it, so the argument of
// interpret comes over in a register, which the system call preserves.
TEXT ·cloneInto(SB), NOSPLIT|NOFRAME, $0-32
	MOVD	args+0(FP), R0
	MOVD	size+8(FP), R1
	MOVD	st+16(FP), R19
	MOVD	$SYS_clone3, R8
	SVC
	CBZ	R0, command
	MOVD	R0, ret+24(FP)
	RET
command:
	SUB	$32, RSP
	MOVD	R19, 8(RSP)
	MOVD	ZR, R30			// where interpret would return to
	MOVD	interpret<>(SB), R0
	JMP	(R0)

DATA interpret<>(SB)/8, $·interpret(SB)
GLOBL interpret<>(SB), RODATA, $8
