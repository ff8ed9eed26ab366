// Package boot is what the processes of a world execute until the command runs.
//
// The init process is this program, started by vfork(2) and execve(2) at an entry that needs no Go
// runtime (boot_entry): a runtime cannot enter a user namespace, and its start would cost more than
// the rest of a world. The supervisor writes down, as ops, every system call that the processes of
// the world make, and sends them over a socket. The processes may not allocate, grow their stack,
// or take a lock. They do nothing but work through the ops (interpret).
//
// The ops come in parts. The first is the same for every world: it makes a network namespace, which
// takes as long as all the rest. So the init process can be started before anything is known of the
// world. [Process.Configure] sends the second part, in which the init process starts the command
// process in the world's cgroup. [Process.Execute] sends the third part to the command process,
// which builds the file view and becomes the command. The init process stays as pid 1 of the world:
// it reaps, passes signals on, and reports the end of the command. It exits when the supervisor's
// end of the socket closes.
//
// No process of the world can open /proc/1/exe, which is a file of the host: the init process is
// not dumpable.
//
// Packages layout, nft and netns decide what the mounts, rules and addresses are. This package
// turns them into ops; see package ops for the words.
package boot
