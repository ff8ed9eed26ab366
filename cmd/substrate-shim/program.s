#include "textflag.h"

// Which program this is, for the first instructions of package prestart.
DATA substrate_program(SB)/8, $1
GLOBL substrate_program(SB), RODATA|NOPTR, $8

DATA substrate_alone(SB)/8, $0
GLOBL substrate_alone(SB), RODATA|NOPTR, $8
