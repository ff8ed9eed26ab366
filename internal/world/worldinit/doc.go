// Package worldinit writes down what the processes of a world shall do.
//
// They run no Go but an interpreter of prepared system calls, see package pid1. Their program comes in three parts: the first is the same
// for every world, [Process.Settle] sends the second to the first process, and [Process.Execute] the third to the second process, which
// becomes the command.
//
// This is what makes a world cost two to three milliseconds: executing our own program once more would cost three, and a Go runtime cannot enter
// a user namespace later anyway.
//
// What the mounts, rules and addresses are is decided by the packages layout, nft
// and netns; this package only turns them into ops.
package worldinit
