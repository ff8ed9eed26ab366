#include "textflag.h"

// func vfork() int
//
// The child runs on the parent's stack while the parent waits in the kernel, so what lies below
// the caller's frame does not survive: the return address is kept in a register, which
// the system call preserves for both.
TEXT ·vfork(SB), NOSPLIT|NOFRAME, $0-8
	MOVQ $0x4111, DI // CLONE_VM|CLONE_VFORK|SIGCHLD
	XORQ SI, SI      // the same stack
	XORQ DX, DX
	XORQ R10, R10
	XORQ R8, R8
	MOVQ $56, AX     // clone
	POPQ R12
	SYSCALL
	PUSHQ R12
	MOVQ AX, ret+0(FP)
	RET
