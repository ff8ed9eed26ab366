#include "textflag.h"

// The program begins here; see package early.
TEXT substrate_entry(SB), NOSPLIT|NOFRAME, $0
	JMP	early_shell(SB)
