#include "textflag.h"

// func forkOn(args *cloneArgs, size uintptr, st *childState) int
//
// The child has a stack of its own with nothing on it, so the argument of interpret comes over in a register, which the
// system call preserves. The way back does not exist.
TEXT ·forkOn(SB), NOSPLIT|NOFRAME, $0-32
	MOVD args+0(FP), R0
	MOVD size+8(FP), R1
	MOVD st+16(FP), R19
	MOVD $435, R8 // clone3
	SVC
	CBZ  R0, child
	MOVD R0, ret+24(FP)
	RET
child:
	MOVD ZR, R29
	SUB  $32, RSP
	MOVD R19, 8(RSP)
	CALL ·interpret(SB)
	UNDEF
