#include "textflag.h"

// Which program this is, for the first instructions of package prestart.
DATA substrate_program(SB)/8, $1
GLOBL substrate_program(SB), RODATA|NOPTR, $8

TEXT substrate_entry(SB), NOSPLIT|NOFRAME, $0
	JMP	prestart_entry(SB)
