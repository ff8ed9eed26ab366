// Package prestart runs the plain case of a command before the Go runtime starts.
//
// The cost of a recorded command is mostly the start of our own program, and most of that is the
// start of the Go runtime: handlers for sixty signals, threads, the heap. A plain command needs
// none of it. So the two programs begin at a few instructions of assembly (entry_amd64.s,
// entry_arm64.s), which call shellMain or shimMain on the stack that the kernel made. These look
// at the arguments and the environment. In the plain case they write the start line, start the
// program, wait, write the complete line and exit, all with raw system calls and memory that is
// part of the program. In any other case they change nothing and return, and the program begins
// as every Go program does: package procstate notes the state of the process, the runtime starts,
// and main runs. That is the ordinary route. It handles every case, and both routes write the
// same bytes. If only the end of a command is not plain, main finishes it; see [Rest].
//
// No function here may need the runtime: nothing allocates, and there is no map, no defer, no
// goroutine, no interface, no conversion between string and []byte, and no index that can be out
// of range. A test looks at the instructions that the compiler made. What other packages know as
// well is in package plain.
//
// The tag noearly builds programs without this package's route, and so does the race detector,
// whose own calls need the runtime. A variable SUBSTRATE_… that is unknown here, such as
// SUBSTRATE_EARLY=0, makes a single run take the ordinary route.
package prestart

import _ "substrate/internal/procstate" // where the ordinary route begins
