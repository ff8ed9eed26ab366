//go:build (noearly || race) && (amd64 || arm64)

#include "textflag.h"

// The two programs begin here, and go on to the ordinary beginning at once.
TEXT prestart_entry(SB), NOSPLIT|NOFRAME, $0
	JMP	inherited_entry(SB)
