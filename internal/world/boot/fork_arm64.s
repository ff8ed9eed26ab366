#include "textflag.h"

#define SYS_clone3 435

// func forkOn(args *cloneArgs, size uintptr, st *state) int
//
// The child has a stack of its own with nothing on it, so the argument of interpret comes over in a register, which the
// system call preserves. The way back does not exist.
TEXT ·forkOn(SB), NOSPLIT|NOFRAME, $0-32
	MOVD	args+0(FP), R0
	MOVD	size+8(FP), R1
	MOVD	st+16(FP), R19
	MOVD	$SYS_clone3, R8
	SVC
	CBZ	R0, child
	MOVD	R0, ret+24(FP)
	RET
child:
	SUB	$32, RSP
	MOVD	R19, 8(RSP)
	MOVD	ZR, R30			// where it would return to
	MOVD	entry<>(SB), R0
	JMP	(R0)

// entry is where children begin. It is in a variable because interpret forks itself, and the linker, which adds up the stacks of functions
// that cannot grow theirs, does not know that this is on another stack.
DATA entry<>(SB)/8, $·interpret(SB)
GLOBL entry<>(SB), RODATA, $8
