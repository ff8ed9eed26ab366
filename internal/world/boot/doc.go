// Package boot is what the processes of a world execute until the command runs.
//
// The supervisor writes down, as a list of ops, every system call that these processes make: the
// processes run no Go runtime, so they may not allocate, grow their stack, or take a lock. They do
// nothing but work through the list (interpret). Its pointers lead to memory that the supervisor
// filled beforehand.
//
// The list comes in parts. The init process starts with the first part, which is the same for every
// world: it makes a network namespace, which takes as long as all the rest, and then waits. So it
// can be started before anything is known of the world. [Process.Configure] sends the second part,
// in which it makes the command process. That one is in the world's cgroup; [Process.Execute] sends
// it the third part: it builds the file view and becomes the command. The init process stays as pid
// 1 of the world: it reaps, passes signals on, and reports the end of the command.
//
// Packages layout, nft and netns decide what the mounts, rules and addresses are. This package
// turns them into ops.
//
// Words: an op is one step of the list; a register holds the result of an op for later ops; a step
// is a group of ops that has a name for the user ("overlay", "netns").
package boot
