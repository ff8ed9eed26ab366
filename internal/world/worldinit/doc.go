// Package worldinit is the first process of a world.
//
// A world is set up by a child of the supervisor that never leaves the memory image
// it was forked with: between clone3(2) and execve(2) it may not allocate, grow its stack,
// or take a lock, because the Go runtime is not alive in it and the Go heap is not there. So the supervisor writes down
// beforehand, as a [Program], every system call that the child shall make, with pointers
// to memory that was filled beforehand too, and the child does nothing but work through that
// list. The same child then stays as pid 1 of the world: it starts the command,
// reaps orphans, passes signals on, and reports the command's end.
//
// This is what makes a world cost two milliseconds: executing our own program once more would
// cost three, and a Go runtime cannot enter a user namespace later anyway.
//
// Words: an op is one step of the list; a register holds the result of an op for later
// ones; a step is a group of ops that has a name for the user ("overlay", "netns").
// What the mounts, rules and addresses are is decided by the packages layout, nft
// and netns; this package only turns them into ops.
package worldinit
