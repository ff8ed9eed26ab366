// Command substrate-shim stands in front of other programs on PATH. See package shim.
//
// It is linked with `-ldflags "-E substrate_entry"`; package inherited says why.
package main

import (
	"os"

	"substrate/internal/shim"
)

func main() { os.Exit(shim.Main()) }
