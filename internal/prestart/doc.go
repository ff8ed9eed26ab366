// Package prestart runs the plain case of a command before the Go runtime starts.
//
// What a recorded command costs is mostly the start of our own program, and most of
// that is the start of the Go runtime: handlers for sixty signals, threads, the heap. A plain
// command needs none of it. So the two programs begin at a few instructions of assembly
// (entry_amd64.s, entry_arm64.s), which call shellMain or shimMain on the stack that the
// kernel made. These look at the arguments and the environment. In the plain case they write
// the start line, start the program, wait, write the complete line and exit, all with raw
// system calls and memory that is part of the program. In any other case they change
// nothing and return, and the program begins as every Go program does: package procstate
// notes what it was given, the runtime starts, and main runs. That ordinary route is the
// one that knows everything; what is written here must be what it would write, byte for byte.
//
// No function here may need the runtime. So there is nothing that
// allocates, no map, no defer, no goroutine, no interface, no conversion between string and
// []byte, and no error in an index; a test looks at the instructions that the compiler
// made. The few functions of other packages that are called were chosen for that.
//
// The tag noearly builds programs without all this, and so does the race detector, whose own calls need
// the runtime. An environment variable SUBSTRATE_… that is not known here, such as
// SUBSTRATE_EARLY=0, makes a single run take the ordinary route.
package prestart

import _ "substrate/internal/procstate" // where the ordinary route begins
