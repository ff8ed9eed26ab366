#include "textflag.h"

// The program begins here. The kernel has left the stack pointer at argc. If the only argument is
// the name of the init process of a world, this becomes one: see package boot. Otherwise it goes on
// in package prestart. R0 means something to the C library.
TEXT substrate_entry(SB), NOSPLIT|NOFRAME, $0
	MOVD	$1, R1
	MOVB	R1, substrate∕internal∕world∕boot·entered(SB)
	MOVD	0(RSP), R2
	CMP	$1, R2
	BNE	ordinary
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
