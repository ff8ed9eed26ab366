// Command substrate-shim stands in front of other programs on PATH. See package shim.
//
// It is linked with `-ldflags "-E substrate_entry"`; packages prestart and procstate say why.
package main

import (
	"os"

	_ "substrate/internal/prestart" // where the program begins
	"substrate/internal/shim"
)

func main() { os.Exit(shim.Main()) }
