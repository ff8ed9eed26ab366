#include "textflag.h"

DATA substrate_alone(SB)/8, $substrate_init(SB)
GLOBL substrate_alone(SB), RODATA, $8

// substrate_init is where the program begins if it has no arguments but a name. If that is the name of the
// init process of a world, this becomes one: see package boot. Otherwise it goes on in package
// prestart. The kernel has left the stack pointer at argc.
TEXT substrate_init(SB), NOSPLIT|NOFRAME, $0
	MOVQ	8(SP), BX
	MOVQ	0(BX), AX
	CMPQ	AX, substrate∕internal∕world∕boot·name+0(SB)
	JNE	ordinary
	MOVQ	8(BX), AX		// the environment follows, and the name of the file
	CMPQ	AX, substrate∕internal∕world∕boot·name+8(SB)
	JNE	ordinary
	JMP	boot_entry(SB)
ordinary:
	JMP	prestart_entry(SB)
