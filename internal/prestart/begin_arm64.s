#include "textflag.h"

// The two programs begin here. The kernel has left the stack pointer at argc. A program without
// arguments may be more than it seems: then cmd/*/program*.s names code that decides. This is in
// the part of the program that prestart needs, because each other part has to be mapped. R0 means
// something to the C library.
TEXT substrate_entry(SB), NOSPLIT|NOFRAME, $0
	MOVD	0(RSP), R2
	CMP	$1, R2
	BNE	prestart
	MOVD	substrate_alone(SB), R2
	CBZ	R2, prestart
	JMP	(R2)
prestart:
	JMP	prestart_entry(SB)
