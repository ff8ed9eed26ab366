//go:build (noearly || race) && (amd64 || arm64)

// The two programs begin here, and go on to the ordinary beginning at once.

#include "textflag.h"

TEXT early_shell(SB), NOSPLIT|NOFRAME, $0
	JMP	inherited_entry(SB)

TEXT early_shim(SB), NOSPLIT|NOFRAME, $0
	JMP	inherited_entry(SB)
