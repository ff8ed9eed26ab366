#include "textflag.h"

// func vfork() int
//
// The child runs on the parent's stack while the parent waits in the kernel. The return address is in
// the link register, which the system call preserves for both.
TEXT ·vfork(SB), NOSPLIT|NOFRAME, $0-8
	MOVD $0x4111, R0 // CLONE_VM|CLONE_VFORK|SIGCHLD
	MOVD ZR, R1      // the same stack
	MOVD ZR, R2
	MOVD ZR, R3
	MOVD ZR, R4
	MOVD $220, R8    // clone
	SVC
	MOVD R0, ret+0(FP)
	RET
