#include "textflag.h"

#define SYS_clone3 435

// func forkOn(args *cloneArgs, size uintptr, st *state) int
//
// The child has a stack of its own with nothing on it, so the argument of interpret comes over in a register, which the
// system call preserves. The way back does not exist.
TEXT ·forkOn(SB), NOSPLIT|NOFRAME, $0-32
	MOVQ	args+0(FP), DI
	MOVQ	size+8(FP), SI
	MOVQ	st+16(FP), R12
	MOVQ	$SYS_clone3, AX
	SYSCALL
	TESTQ	AX, AX
	JZ	child
	MOVQ	AX, ret+24(FP)
	RET
child:
	SUBQ	$32, SP
	MOVQ	$0, 0(SP)		// where it would return to
	MOVQ	R12, 8(SP)
	MOVQ	entry<>(SB), AX
	JMP	AX

// entry is where children begin. It is in a variable because interpret forks itself, and the linker, which adds up the stacks of functions
// that cannot grow theirs, does not know that this is on another stack.
DATA entry<>(SB)/8, $·interpret(SB)
GLOBL entry<>(SB), RODATA, $8
