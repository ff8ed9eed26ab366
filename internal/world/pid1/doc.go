// Package pid1 is what the first process of a world executes.
//
// A world is set up by processes that never leave the memory image they were forked with: between clone3(2) and execve(2) they
// may not allocate, grow their stack, or take a lock, because the Go runtime is not alive in them. So the supervisor writes down, as a
// list of ops, every system call that they shall make, with pointers to memory that was filled beforehand too, and they do nothing but
// work through that list ([Region], interpret).
//
// The list comes in parts. When the first process is born it knows the first part, which is the same for every world (firstPart): it
// makes a network namespace, which takes as long as all the rest, and then waits. Each further part comes as bytes over its socket and
// is put where the supervisor has written it in its own memory, so that the pointers in it are right: both have reserved the same piece
// of the address space, and neither can write to the other's. So the first process can be born before anything is known of the
// world, and makes itself ready while the supervisor does.
//
// It soon makes a second process, which is in the world's cgroup, builds the file view and becomes the command. The first stays as pid 1
// of the world: it reaps, passes signals on, and reports the command's end.
//
// Words: an op is one step of the list; a register holds the result of an op for later ones; a step is a group of ops that has a name
// for the user ("overlay", "netns").
package pid1
