#include "textflag.h"

// The two programs begin here. The kernel has left the stack pointer at argc. A program without
// arguments may be more than it seems: then cmd/*/program*.s names code that decides. This is in
// the part of the program that prestart needs, because each other part has to be mapped.
TEXT substrate_entry(SB), NOSPLIT|NOFRAME, $0
	CMPQ	0(SP), $1
	JNE	prestart
	MOVQ	substrate_alone(SB), AX
	TESTQ	AX, AX
	JEQ	prestart
	JMP	AX
prestart:
	JMP	prestart_entry(SB)
