// Command substrate records every command that it runs and can run each of them
// again in a throw-away world. See package cli.
//
// It is linked with `-ldflags "-E substrate_entry"`; packages prestart and procstate say why.
package main

import (
	"os"

	"substrate/internal/cli"
	_ "substrate/internal/prestart" // where the program begins
)

func main() { os.Exit(cli.Main()) }
