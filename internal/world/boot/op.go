package boot

// The kinds of Op.
const (
	OpCall    = iota // one system call
	OpAlive          // end if the supervisor is gone
	OpAck            // read a netlink socket until it is empty; an error message in it is an error
	OpPoke           // store a register as an int32 at an address
	OpStep           // tell the supervisor that a step ended well
	OpDegrade        // tell the supervisor that a step had to be left out, and the last error
	OpJump           // go on at OnErr
	OpUnless         // go on at OnErr if the register is not 0
	OpFork           // make the second process, in the cgroup of that descriptor or, with 0, in ours: it begins at OnErr
	OpUsage          // store what this process has used until now in the Message at an address
	OpBound          // take from the bounding set every capability that has no bit in the number
	OpPart           // wait for the next part; descriptors that come with it are put into registers, from that number on
	OpExec           // execute the command
	OpInit           // be pid 1 until the command has ended
)

// What an op does when its system call fails, if not the index of the op to go on with.
const (
	Fatal = -1 // report it and end the world
	Next  = -2 // go on with the next op
)

// MaxRegs is how many registers there are.
const MaxRegs = 64

// Op is laid out for the first process: no pointers, so that no write barrier and no bounds
// of a slice header stand in its way.
type Op struct {
	Nr      uintptr
	Args    [6]uintptr
	Kind    int32
	OnErr   int32
	WantErr int32 // an errno that counts as success; 0 for none
	Skip    int32 // the op to go on with after WantErr; 0 as after success
	Next    int32 // the op to go on with after success; 0 for the one below
	RegMask uint8 // bit i: Args[i] is the number of a register
	Dst     uint8 // register for the result, plus one; 0 for none
	Step    uint8 // index into the names of the steps
}

// Part is the head of each part but the first.
type Part struct {
	Size uintptr // bytes, with the head
	Ops  uintptr // address of the first op
	FDs  uintptr // how many descriptors come with it
}

// The registers and steps of the first part.
const (
	RegNoNet = iota // not 0 if there is no network namespace
	RegNet          // descriptor of the network namespace, or one that cannot be open
	FirstReg        // the first that is free

	StepStart = 0
	StepNetns = 1
)

// Steps are the names of the steps of the first part.
var Steps = [...]string{StepStart: "start", StepNetns: "netns"}
