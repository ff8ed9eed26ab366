#include "textflag.h"

// The program begins here. The kernel has left the stack pointer at argc. If the only argument is
// the name of the init process of a world, this becomes one: see package boot. Otherwise it goes on
// in package prestart.
TEXT substrate_entry(SB), NOSPLIT|NOFRAME, $0
	MOVB	$1, substrate∕internal∕world∕boot·entered(SB)
	CMPQ	0(SP), $1
	JNE	ordinary
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
