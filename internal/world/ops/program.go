package ops

import (
	"encoding/binary"
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Reg is the number of a register.
type Reg uint8

// Arg is one argument of an op: a number, an address, or the value of a register.
type Arg struct {
	val   uintptr
	isReg bool
}

// Num is a number as an argument.
func Num[T ~int | ~uint | ~uint8 | ~int32 | ~uint32 | ~uint64 | ~int64 | ~uintptr](n T) Arg {
	return Arg{val: uintptr(n)}
}

// FromReg is the value that an earlier op left in r.
func FromReg(r Reg) Arg { return Arg{val: uintptr(r), isReg: true} }

// CWD is AT_FDCWD as an argument.
var CWD = Arg{val: ^uintptr(-unix.AT_FDCWD - 1)}

// Plus is the address of what lies n bytes behind a.
func (a Arg) Plus(n int) Arg { return Arg{val: a.val + uintptr(n)} }

// Program is a list of ops. Its methods append to the part that comes next.
type Program struct {
	ops   []Op
	steps []string
	regs  int

	at   uintptr // address of the part
	data []byte  // of the part, with room for its head
	err  error   // why the part cannot be sent
}

var (
	// errTooLong is what execve(2) returns for a command that has no room.
	errTooLong      = os.NewSyscallError("execve", unix.E2BIG)
	errTooManySteps = errors.New("ops: too many steps")
)

// New returns an empty program. The registers below first belong to the caller.
func New(first Reg) *Program {
	return &Program{ops: make([]Op, 0, 256), regs: int(first), at: Base, data: make([]byte, headSize, 16<<10)}
}

// Part returns the part, which comes with that many descriptors, and begins the next.
func (p *Program) Part(fds int) ([]byte, error) {
	first := p.Data(unsafe.Slice((*byte)(unsafe.Pointer(&p.ops[0])), len(p.ops)*int(opSize)))
	part := p.data
	end := p.at + Align(uintptr(len(part)))
	if end > Base+Room {
		return nil, errTooLong
	}
	if p.err != nil {
		return nil, p.err
	}
	*(*Head)(unsafe.Pointer(&part[0])) = Head{Size: uintptr(len(part)), Ops: first.val, FDs: uintptr(fds)}
	p.at, p.data, p.ops = end, make([]byte, headSize, 16<<10), p.ops[:0]
	return part, nil
}

// Step begins a step: the ops that follow belong to it until the next call.
func (p *Program) Step(name string) {
	if len(p.steps) == 0 || p.steps[len(p.steps)-1] != name { // an op has one byte for the number of its step
		p.steps = append(p.steps, name)
	}
}

// StepName is the name of a step by its number, or "" if there is no such step.
func (p *Program) StepName(n int) string {
	if n < 0 || n >= len(p.steps) {
		return ""
	}
	return p.steps[n]
}

// Len is the number of ops in the part, which is the index of the next.
func (p *Program) Len() int32 { return int32(len(p.ops)) }

// At returns an op of the part. It is valid until the next op is added.
func (p *Program) At(i int32) *Op { return &p.ops[i] }

// Add appends an op of that kind and returns it. It is valid until the next op is added.
func (p *Program) Add(kind Kind, args ...Arg) *Op {
	if len(p.steps) > 256 {
		p.err = errTooManySteps
	}
	o := Op{Kind: kind, OnErr: Fatal, Step: uint8(len(p.steps) - 1)}
	for i, a := range args {
		o.Args[i] = a.val
		if a.isReg {
			o.RegMask |= 1 << i
		}
	}
	p.ops = append(p.ops, o)
	return &p.ops[len(p.ops)-1]
}

// Call appends a system call that must succeed.
func (p *Program) Call(nr uintptr, args ...Arg) *Op {
	o := p.Add(Call, args...)
	o.Nr = nr
	return o
}

// Try appends a system call whose failure changes nothing.
func (p *Program) Try(nr uintptr, args ...Arg) *Op {
	o := p.Call(nr, args...)
	o.OnErr = Ignore
	return o
}

// To keeps the result of o in r.
func (o *Op) To(r Reg) { o.Dst = uint8(r) + 1 }

// CallReg appends a system call that must succeed and returns the register of its result.
func (p *Program) CallReg(nr uintptr, args ...Arg) Reg {
	r := p.NewReg()
	p.Call(nr, args...).To(r)
	return r
}

// NewReg reserves a register, which holds 0 until an op writes it.
func (p *Program) NewReg() Reg {
	p.regs++
	if p.regs > MaxRegs {
		panic("ops: out of registers")
	}
	return Reg(p.regs - 1)
}

// FreeReg is the first register that is not reserved.
func (p *Program) FreeReg() Reg { return Reg(p.regs) }

// Unless leaves out the ops that skipped appends if r is not 0.
func (p *Program) Unless(r Reg, skipped func()) {
	jump := p.Len()
	p.Add(Unless, FromReg(r))
	skipped()
	p.At(jump).OnErr = p.Len()
}

// Alternative runs the ops that try appends; if one fails, those of otherwise are run instead. Both
// may be followed by anything.
func (p *Program) Alternative(try, otherwise func()) {
	first := p.Len()
	try()
	jump := p.Len()
	p.Add(Jump)
	for i := first; i < jump; i++ {
		if o := p.At(i); o.OnErr == Fatal {
			o.OnErr = p.Len()
		}
	}
	otherwise()
	p.At(jump).OnErr = p.Len()
}

// align is what every piece of data is aligned to.
const align = 16

// Data appends a copy of b and returns its address.
func (p *Program) Data(b []byte) Arg {
	at := (len(p.data) + align - 1) &^ (align - 1)
	p.data = append(p.data, make([]byte, at-len(p.data))...)
	p.data = append(p.data, b...)
	return Arg{val: p.at + uintptr(at)}
}

// Zeros appends n zero bytes and returns their address.
func (p *Program) Zeros(n int) Arg { return p.Data(make([]byte, n)) }

// Text appends s as a C string and returns its address.
func (p *Program) Text(s string) Arg {
	at := p.Data(nil)
	p.data = append(append(p.data, s...), 0)
	return at
}

// Words appends 64-bit numbers and addresses and returns their address.
func (p *Program) Words(list ...Arg) Arg {
	b := make([]byte, 0, 8*len(list))
	for _, a := range list {
		b = binary.NativeEndian.AppendUint64(b, uint64(a.val))
	}
	return p.Data(b)
}

// Strings appends a null-terminated array of C strings and returns its address.
func (p *Program) Strings(list []string) Arg {
	array := make([]Arg, 0, len(list)+1)
	for _, s := range list {
		array = append(array, Arg{val: p.at + uintptr(len(p.data))})
		p.data = append(append(p.data, s...), 0)
	}
	return p.Words(append(array, Arg{})...)
}
