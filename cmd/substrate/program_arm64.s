#include "textflag.h"

DATA substrate_alone(SB)/8, $substrate_init(SB)
GLOBL substrate_alone(SB), RODATA, $8

// substrate_init is where the program begins if it has no arguments but a name. If that is the name of the
// init process of a world, this becomes one: see package boot. Otherwise it goes on in package
// prestart. The kernel has left the stack pointer at argc. R0 means something to the C library.
TEXT substrate_init(SB), NOSPLIT|NOFRAME, $0
	MOVD	8(RSP), R3
	MOVD	0(R3), R4
	MOVD	substrate∕internal∕world∕boot·name+0(SB), R5
	CMP	R4, R5
	BNE	ordinary
	MOVD	8(R3), R4		// the environment follows, and the name of the file
	MOVD	substrate∕internal∕world∕boot·name+8(SB), R5
	CMP	R4, R5
	BNE	ordinary
	JMP	boot_entry(SB)
ordinary:
	JMP	prestart_entry(SB)
