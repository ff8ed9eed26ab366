// Command substrate-shim stands in front of other programs on PATH. See package shim.
//
// It is linked with `-ldflags "-E substrate_entry"`; packages early and inherited say why.
package main

import (
	"os"

	_ "substrate/internal/early" // where the program begins
	"substrate/internal/shim"
)

func main() { os.Exit(shim.Main()) }
