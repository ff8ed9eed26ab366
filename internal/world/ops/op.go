// Package ops is a program for a process that has no Go runtime: a list of system calls with the
// memory that their arguments point to.
//
// One process writes a [Program] down and sends it, part by part, as bytes. The other one puts the
// parts where their addresses expect them, at [Base], and works through the ops: see package boot.
//
// Words: an op is one step of the list; a register holds the result of an op for later ops; a step
// is a group of ops that has a name for the user ("overlay", "netns").
package ops

import "unsafe"

// Kind is what an op does.
type Kind int32

// The kinds of Op.
const (
	Call          Kind = iota // one system call
	CheckAlive                // end if the supervisor is gone
	Ack                       // read a netlink socket until it is empty; an error message in it is an error
	Poke                      // store a register as an int32 at an address
	ReportDone                // report that a step ended well
	ReportDegrade             // report that a step had to be left out, and the last error
	Jump                      // go on at OnErr
	Unless                    // go on at OnErr if the register is not 0
	Fork                      // make the command process, in the cgroup of that descriptor or, with 0, in ours: it begins at OnErr
	Usage                     // store what this process has used until now in the Message at an address
	Bound                     // take from the bounding set every capability that has no bit in the number
	ReadPart                  // wait for the next part; descriptors that come with it are put into registers, from that number on
	Exec                      // execute the command
	Init                      // be pid 1 until the command has ended
)

// What an op does when its system call fails, if not the index of the op to go on with.
const (
	Fatal  = -1 // report it and end the world
	Ignore = -2 // go on with the next op
)

// MaxRegs is how many registers there are.
const MaxRegs = 64

// Op holds no pointers: the process that runs it has no write barriers, and other addresses.
type Op struct {
	Nr      uintptr
	Args    [6]uintptr
	Kind    Kind
	OnErr   int32
	WantErr int32 // an errno that counts as success; 0 for none
	Skip    int32 // the op to go on with after WantErr; 0 as after success
	Next    int32 // the op to go on with after success; 0 for the one below
	RegMask uint8 // bit i: Args[i] is the number of a register
	Dst     uint8 // register for the result, plus one; 0 for none
	Step    uint8 // index into the names of the steps
}

// Head is the beginning of each part.
type Head struct {
	Size uintptr // bytes, with the head
	Ops  uintptr // address of the first op
	FDs  uintptr // how many descriptors come with it
}

// Base is the address of the first part. Nothing else is there in a new process: programs lie
// below, and the kernel puts stacks and mappings much higher, also where addresses have 39 bits.
const Base = 0x10_0000_0000

// Room is how much memory there is from Base on. The kernel takes arguments and variables of up to
// 6 MB, and they come over twice.
//
// Source: execve(2), "Limits on size of arguments and environment".
const Room = 32 << 20

// pageSize is what the address of a part is aligned to. It need not be that of the machine.
const pageSize = 4096

// Align rounds up to where the next part begins.
func Align(n uintptr) uintptr { return (n + pageSize - 1) &^ (pageSize - 1) }

const (
	headSize = unsafe.Sizeof(Head{})
	opSize   = unsafe.Sizeof(Op{})
)
