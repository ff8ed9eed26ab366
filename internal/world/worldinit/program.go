package worldinit

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Reg names a register of the child: the place of a system call's result.
type Reg uint8

// Arg is one argument of an op: a number, the address of prepared memory, or a register.
type Arg struct {
	val uintptr
	reg Reg
	ptr bool // val is not used; the register is
}

// Num is a plain number as an argument.
func Num[T ~int | ~uint | ~int32 | ~uint32 | ~uint64 | ~int64 | ~uintptr](n T) Arg {
	return Arg{val: uintptr(n)}
}

// FromReg is the value that an earlier op left in r.
func FromReg(r Reg) Arg { return Arg{reg: r, ptr: true} }

// The kinds of op.
const (
	opCall    = iota // one system call
	opAlive          // end if the supervisor is gone
	opAck            // read a netlink socket until it is empty; an error message in it is an error
	opPoke           // store a register as an int32 at a fixed address
	opPeek           // load a register from an int32 at a fixed address
	opStep           // tell the supervisor that a step ended well
	opDegrade        // tell the supervisor that a step had to be left out, and the last error
	opJump           // go on at onErr
	opSpawn          // fork: the parent goes on, the child continues at onErr
	opExec           // execute the command
	opInit           // be pid 1 until the command has ended
)

// What an op does when its system call fails, if not the index of the op to go on with.
const (
	fatal = -1 // report it and end the world
	next  = -2 // go on with the next op
)

const maxRegs = 48

// op is laid out for the child: no pointers, so that no write barrier and no bounds
// of a slice header stand in its way.
type op struct {
	nr      uintptr
	args    [6]uintptr
	kind    int32
	onErr   int32
	wantErr int32 // an errno that counts as success; 0 for none
	skip    int32 // the op to go on with after wantErr; 0 as after success
	next    int32 // the op to go on with after success; 0 for the one below
	regMask uint8 // bit i: args[i] is the number of a register
	dst     uint8 // register for the result, plus one; 0 for none
	step    uint8 // index into steps
}

// Program is the list of what a child does. Methods append to it; nothing runs before
// [Program.Start]. A Program can be started once.
type Program struct {
	ops   []op
	steps []string
	regs  int
	pokes int
	memory
	state *childState
}

// childState is what the interpreter needs besides the ops. It lies in the child's memory; only the child writes to it
// once it runs, in its own copy.
type childState struct {
	ops     unsafe.Pointer
	regs    [maxRegs]uintptr
	pokes   [8]unsafe.Pointer // targets of opPoke and sources of opPeek
	lastErr int32
	parent  int32          // op with which the parent goes on after opSpawn
	child   int32          // op with which the child begins
	command uintptr        // pid of the command
	status  uintptr        // descriptor of the report socket in the child
	paths   unsafe.Pointer // candidates for execve: pointers to strings, a null at the end
	argv    unsafe.Pointer
	env     unsafe.Pointer
	msg     Message
	info    [128]byte // siginfo_t
	buf     [8192]byte
	rusage  unix.Rusage
}

// New returns an empty Program.
func New() *Program {
	p := &Program{steps: []string{"start"}, ops: make([]op, 0, 256)}
	p.state = place[childState](&p.memory)
	return p
}

// Step begins a step: the ops that follow belong to it until the next call.
func (p *Program) Step(name string) { p.steps = append(p.steps, name) }

// Done makes the child tell the supervisor, at that moment, that the current step ended well.
func (p *Program) Done() { p.add(op{kind: opStep}) }

// Degrade makes the child tell the supervisor that the current step could not be done, with the
// error that led here.
func (p *Program) Degrade() { p.add(op{kind: opDegrade}) }

func (p *Program) add(o op) int {
	o.step = uint8(len(p.steps) - 1)
	p.ops = append(p.ops, o)
	return len(p.ops) - 1
}

func newCall(nr uintptr, args []Arg) op {
	o := op{kind: opCall, nr: nr, onErr: fatal}
	for i, a := range args {
		o.args[i] = a.val
		if a.ptr {
			o.args[i] = uintptr(a.reg)
			o.regMask |= 1 << i
		}
	}
	return o
}

// Call appends a system call that must succeed.
func (p *Program) Call(nr uintptr, args ...Arg) { p.add(newCall(nr, args)) }

// CallReg appends a system call that must succeed and returns the register of its result.
func (p *Program) CallReg(nr uintptr, args ...Arg) Reg {
	o := newCall(nr, args)
	r := p.NewReg()
	o.dst = uint8(r) + 1
	p.add(o)
	return r
}

// Try appends a system call whose failure changes nothing.
func (p *Program) Try(nr uintptr, args ...Arg) {
	o := newCall(nr, args)
	o.onErr = next
	p.add(o)
}

// NewReg reserves a register, which holds 0 until an op writes it.
func (p *Program) NewReg() Reg {
	p.regs++
	if p.regs > maxRegs {
		panic("worldinit: out of registers")
	}
	return Reg(p.regs - 1)
}

// Ack appends a check of the answers on the netlink socket in r.
//
// Source: netlink(7), "NLMSG_ERROR"; the kernel answers a request before sendto(2) returns.
func (p *Program) Ack(r Reg) {
	p.add(op{kind: opAck, args: [6]uintptr{uintptr(r)}, regMask: 1, onErr: fatal})
}

// Poke stores r as an int32 at offset off of the prepared memory b, which the child has.
func (p *Program) Poke(b []byte, off int, r Reg) {
	p.state.pokes[p.pokes] = unsafe.Pointer(&b[off])
	p.add(op{kind: opPoke, args: [6]uintptr{uintptr(p.pokes), uintptr(r)}, regMask: 2})
	p.pokes++
}

// Peek loads the int32 at offset off of the prepared memory b, which the child has and an earlier op has filled.
func (p *Program) Peek(b []byte, off int) Reg {
	p.state.pokes[p.pokes] = unsafe.Pointer(&b[off])
	r := p.NewReg()
	p.add(op{kind: opPeek, args: [6]uintptr{uintptr(p.pokes), uintptr(r)}})
	p.pokes++
	return r
}

// Alternative runs the ops that try appends; if one fails, those of otherwise are
// run instead. Both may be followed by anything.
func (p *Program) Alternative(try, otherwise func()) {
	first := len(p.ops)
	try()
	last := len(p.ops)
	jump := p.add(op{kind: opJump})
	for i := first; i < last; i++ {
		if p.ops[i].onErr == fatal {
			p.ops[i].onErr = int32(len(p.ops))
		}
	}
	otherwise()
	p.ops[jump].onErr = int32(len(p.ops))
}

// String prepares s as a C string.
func (p *Program) String(s string) Arg {
	b := p.bytes(len(s) + 1)
	copy(b, s)
	return addr(b)
}

// Bytes prepares a copy of b, which must not be empty, and returns its address.
func (p *Program) Bytes(b []byte) Arg {
	own := p.bytes(len(b))
	copy(own, b)
	return addr(own)
}

// addr is the address of memory that the child has.
func addr(b []byte) Arg { return Arg{val: uintptr(unsafe.Pointer(&b[0]))} }

// descriptors prepares a Message of that kind and the control part that carries fds.
func (p *Program) descriptors(kind int32, fds ...int) (msg, rights []byte) {
	msg = p.bytes(int(unsafe.Sizeof(Message{})))
	(*Message)(unsafe.Pointer(&msg[0])).Kind = kind
	list := unix.UnixRights(fds...)
	rights = p.bytes(len(list))
	copy(rights, list)
	return msg, rights
}

// message prepares a struct msghdr for one message: data, and control for descriptors.
func (p *Program) message(data, control []byte) Arg {
	iov, hdr := place[unix.Iovec](&p.memory), place[unix.Msghdr](&p.memory)
	iov.Base, iov.Len = &data[0], uint64(len(data))
	hdr.Iov, hdr.Iovlen = iov, 1
	hdr.Control, hdr.Controllen = &control[0], uint64(len(control))
	return Arg{val: uintptr(unsafe.Pointer(hdr))}
}

// strings prepares a null-terminated array of C strings.
func (p *Program) strings(list []string) unsafe.Pointer {
	n := 0
	for _, s := range list {
		n += len(s) + 1
	}
	text := p.bytes(n + 1)
	ptrs := p.bytes((len(list) + 1) * int(unsafe.Sizeof(uintptr(0))))
	array := unsafe.Slice((*uintptr)(unsafe.Pointer(&ptrs[0])), len(list)+1)
	for i, s := range list {
		array[i] = addr(text).val
		text = text[copy(text, s)+1:]
	}
	return unsafe.Pointer(&ptrs[0])
}
