// Command probe prints what package procstate knows.
package main

import (
	"fmt"

	"substrate/internal/procstate"
)

// libc has signals 32 and 33, which the C library keeps for itself: whether they are ignored depends on how the test
// was started. Make does so by posix_spawn, and its children ignore 32.
const libc = 1<<31 | 1<<32

func main() {
	soft, hard, ok := procstate.NoFile()
	fmt.Printf("known %v\nignored %016x\nnofile %d %d %v\nclosed %v %v %v\n", procstate.Known(), procstate.Ignored()&^libc,
		soft, hard, ok, procstate.Closed(0), procstate.Closed(1), procstate.Closed(2))
}
