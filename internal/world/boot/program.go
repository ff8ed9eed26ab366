package boot

import (
	"errors"
	"os"
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

// program is the list of what the processes of a world do. Methods append to the part that comes next; send hands it over.
type program struct {
	ops   []Op
	steps []string
	regs  int

	room []byte // what is left of the process's memory
	part int    // how much of it the part that comes next takes already
	err  error  // why the part cannot be handed over
}

// errTooLong is what execve(2) says of a command that has no room.
var errTooLong = os.NewSyscallError("execve", unix.E2BIG)

// newProgram returns an empty program in the memory that is left for parts.
func newProgram(room []byte) *program {
	p := &program{steps: append([]string(nil), Steps[:]...), ops: make([]Op, 0, 256), regs: FirstReg, room: room}
	p.bytes(int(unsafe.Sizeof(Part{})))
	return p
}

// align is what every piece of memory is aligned to.
const align = 16

// bytes returns n zeroed bytes of the process's memory. It never fails: see program.err.
func (p *program) bytes(n int) []byte {
	room := (n + align - 1) &^ (align - 1)
	if room > len(p.room)-p.part {
		p.err = errTooLong
		return make([]byte, n)
	}
	b := p.room[p.part : p.part+n : p.part+n]
	p.part += room
	return b
}

// place returns zeroed memory for a T, which must hold no pointers into the Go heap.
func place[T any](p *program) *T {
	var zero T
	return (*T)(unsafe.Pointer(&p.bytes(int(unsafe.Sizeof(zero)))[0]))
}

// send hands the part over, with descriptors that become the registers of fds in the same order, and begins the next.
func (p *program) send(b *Born, fds ...int) error {
	ops := p.bytes(len(p.ops) * int(unsafe.Sizeof(Op{})))
	if p.err != nil {
		return p.err
	}
	copy(unsafe.Slice((*Op)(unsafe.Pointer(&ops[0])), len(p.ops)), p.ops)
	head := (*Part)(unsafe.Pointer(&p.room[0]))
	head.Size, head.Ops, head.FDs = uintptr(p.part), addr(ops).val, uintptr(len(fds))
	if err := b.Send(p.room[:p.part], fds...); err != nil {
		return err
	}
	p.room = p.room[min(Align(p.part), len(p.room)):]
	p.part, p.ops = 0, p.ops[:0]
	p.bytes(int(unsafe.Sizeof(Part{})))
	return nil
}

// step begins a step: the ops that follow belong to it until the next call.
func (p *program) step(name string) {
	if p.steps[len(p.steps)-1] != name { // an op has one byte for the number of its step
		p.steps = append(p.steps, name)
	}
}

// done makes the child tell the supervisor, at that moment, that the current step ended well.
func (p *program) done() { p.add(Op{Kind: OpStep}) }

// degrade makes the child tell the supervisor that the current step could not be done, with the
// error that led here.
func (p *program) degrade() { p.add(Op{Kind: OpDegrade}) }

func (p *program) add(o Op) int {
	if len(p.steps) > 255 {
		p.err = errors.New("boot: too many steps")
	}
	o.Step = uint8(len(p.steps) - 1)
	p.ops = append(p.ops, o)
	return len(p.ops) - 1
}

func newCall(nr uintptr, args []Arg) Op {
	o := Op{Kind: OpCall, Nr: nr, OnErr: Fatal}
	for i, a := range args {
		o.Args[i] = a.val
		if a.ptr {
			o.Args[i] = uintptr(a.reg)
			o.RegMask |= 1 << i
		}
	}
	return o
}

// call appends a system call that must succeed.
func (p *program) call(nr uintptr, args ...Arg) { p.add(newCall(nr, args)) }

// callReg appends a system call that must succeed and returns the register of its result.
func (p *program) callReg(nr uintptr, args ...Arg) Reg {
	o := newCall(nr, args)
	r := p.newReg()
	o.Dst = uint8(r) + 1
	p.add(o)
	return r
}

// try appends a system call whose failure changes nothing.
func (p *program) try(nr uintptr, args ...Arg) {
	o := newCall(nr, args)
	o.OnErr = Next
	p.add(o)
}

// newReg reserves a register, which holds 0 until an op writes it.
func (p *program) newReg() Reg {
	p.regs++
	if p.regs > MaxRegs {
		panic("boot: out of registers")
	}
	return Reg(p.regs - 1)
}

// ack appends a check of the answers on the netlink socket in r.
//
// Source: netlink(7), "NLMSG_ERROR"; the kernel answers a request before sendto(2) returns.
func (p *program) ack(r Reg) {
	p.add(Op{Kind: OpAck, Args: [6]uintptr{uintptr(r)}, RegMask: 1, OnErr: Fatal})
}

// poke stores r as an int32 at offset off of the prepared memory b.
func (p *program) poke(b []byte, off int, r Reg) {
	p.add(Op{Kind: OpPoke, Args: [6]uintptr{addr(b[off:]).val, uintptr(r)}, RegMask: 2})
}

// unless makes the ops that skipped appends be left out if r is not 0.
func (p *program) unless(r Reg, skipped func()) {
	jump := p.add(Op{Kind: OpUnless, Args: [6]uintptr{uintptr(r)}, RegMask: 1})
	skipped()
	p.ops[jump].OnErr = int32(len(p.ops))
}

// alternative runs the ops that try appends; if one fails, those of otherwise are
// run instead. Both may be followed by anything.
func (p *program) alternative(try, otherwise func()) {
	first := len(p.ops)
	try()
	last := len(p.ops)
	jump := p.add(Op{Kind: OpJump})
	for i := first; i < last; i++ {
		if p.ops[i].OnErr == Fatal {
			p.ops[i].OnErr = int32(len(p.ops))
		}
	}
	otherwise()
	p.ops[jump].OnErr = int32(len(p.ops))
}

// text prepares s as a C string.
func (p *program) text(s string) Arg {
	b := p.bytes(len(s) + 1)
	copy(b, s)
	return addr(b)
}

// data prepares a copy of b, which must not be empty, and returns its address.
func (p *program) data(b []byte) Arg {
	own := p.bytes(len(b))
	copy(own, b)
	return addr(own)
}

// addr is the address of memory that the child has.
func addr(b []byte) Arg { return Arg{val: uintptr(unsafe.Pointer(&b[0]))} }

// descriptors prepares a Message of that kind and the control part that carries fds.
func (p *program) descriptors(kind int32, fds ...int) (msg, rights []byte) {
	msg = p.bytes(int(unsafe.Sizeof(Message{})))
	(*Message)(unsafe.Pointer(&msg[0])).Kind = kind
	list := unix.UnixRights(fds...)
	rights = p.bytes(len(list))
	copy(rights, list)
	return msg, rights
}

// message prepares a struct msghdr for one message: data, and control for descriptors.
func (p *program) message(data, control []byte) Arg {
	iov, hdr := place[unix.Iovec](p), place[unix.Msghdr](p)
	iov.Base, iov.Len = &data[0], uint64(len(data))
	hdr.Iov, hdr.Iovlen = iov, 1
	hdr.Control, hdr.Controllen = &control[0], uint64(len(control))
	return Arg{val: uintptr(unsafe.Pointer(hdr))}
}

// strings prepares a null-terminated array of C strings and returns its address.
func (p *program) strings(list []string) uintptr {
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
	return addr(ptrs).val
}
