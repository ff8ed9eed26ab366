package ops

import (
	"errors"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// inspect is a part as the process that runs it sees it.
type inspect struct {
	t    *testing.T
	at   uintptr
	part []byte
}

func (v inspect) head() Head { return *(*Head)(unsafe.Pointer(&v.part[0])) }

// op is the op with that number.
func (v inspect) op(n int) Op {
	v.t.Helper()
	off := int(v.head().Ops-v.at) + n*int(opSize)
	if off+int(opSize) > len(v.part) {
		v.t.Fatalf("op %d is not in the part", n)
	}
	return *(*Op)(unsafe.Pointer(&v.part[off]))
}

// text is the C string at an address.
func (v inspect) text(at uintptr) string {
	v.t.Helper()
	s, _, found := strings.Cut(string(v.part[at-v.at:]), "\x00")
	if !found {
		v.t.Fatalf("no text at %#x", at)
	}
	return s
}

// word is the number or address at an address.
func (v inspect) word(at uintptr) uintptr { return *(*uintptr)(unsafe.Pointer(&v.part[at-v.at])) }

func cut(t *testing.T, p *Program, fds int) inspect {
	t.Helper()
	at := p.at
	part, err := p.Part(fds)
	if err != nil {
		t.Fatal(err)
	}
	return inspect{t, at, part}
}

// Addresses are those of the process that runs the ops, whatever the writer's are.
func TestAddresses(t *testing.T) {
	p := New(3)
	p.Step("one")
	r := p.CallReg(unix.SYS_OPENAT, CWD, p.Text("/a"), Num(7))
	p.Add(Exec, p.Strings([]string{"x", "", "yz"}), p.Words(FromReg(r), Num(5)).Plus(8), FromReg(r))
	v := cut(t, p, 2)
	if h := v.head(); h.Size != uintptr(len(v.part)) || h.FDs != 2 || v.at != Base {
		t.Errorf("head %+v at %#x for %d bytes", h, v.at, len(v.part))
	}
	o := v.op(0)
	if r != 3 || o.Dst != 4 || o.Kind != Call || o.Nr != unix.SYS_OPENAT || o.OnErr != Fatal || o.RegMask != 0 {
		t.Errorf("register %d, op %+v", r, o)
	}
	if got := int(o.Args[0]); got != unix.AT_FDCWD || v.text(o.Args[1]) != "/a" || o.Args[2] != 7 {
		t.Errorf("arguments %d, %q, %d", got, v.text(o.Args[1]), o.Args[2])
	}
	o = v.op(1)
	for i, want := range []string{"x", "", "yz"} {
		if got := v.text(v.word(o.Args[0] + 8*uintptr(i))); got != want {
			t.Errorf("string %d is %q, want %q", i, got, want)
		}
	}
	if end := v.word(o.Args[0] + 24); end != 0 {
		t.Errorf("the strings end with %#x", end)
	}
	if v.word(o.Args[1]) != 5 || o.Args[2] != 3 || o.RegMask != 1<<2 {
		t.Errorf("arguments of %+v", o)
	}
}

// The next part begins on the page behind the last.
func TestParts(t *testing.T) {
	p := New(0)
	p.Step("one")
	p.Call(unix.SYS_GETPID)
	first := cut(t, p, 0)
	p.Step("two")
	p.Call(unix.SYS_GETPPID)
	p.Zeros(10000)
	second, third := cut(t, p, 0), p.at
	if second.at != Base+4096 || third != second.at+12288 || third != second.at+Align(second.head().Size) {
		t.Errorf("parts at %#x, %#x, %#x", first.at, second.at, third)
	}
	if o := second.op(0); o.Nr != unix.SYS_GETPPID || o.Step != 1 {
		t.Errorf("the second part begins with %+v", o)
	}
	for n, want := range map[int]string{-1: "", 0: "one", 1: "two", 2: ""} {
		if got := p.StepName(n); got != want {
			t.Errorf("step %d is %q, want %q", n, got, want)
		}
	}
}

// What follows a step of the same name belongs to it.
func TestSteps(t *testing.T) {
	p := New(0)
	for range 300 {
		p.Step("same")
		p.Add(ReportDone)
	}
	if _, err := p.Part(0); err != nil {
		t.Error(err)
	}
	for _, name := range strings.Split(strings.Repeat("a b ", 128), " ") {
		p.Step(name)
		p.Add(ReportDone)
	}
	if _, err := p.Part(0); !errors.Is(err, errTooManySteps) {
		t.Errorf("error of 257 steps: %v", err)
	}
}

// More than the process has room for is an error, as it is for execve(2).
func TestTooLong(t *testing.T) {
	p := New(0)
	p.Step("one")
	p.Zeros(Room)
	p.Add(ReportDone)
	if _, err := p.Part(0); !errors.Is(err, unix.E2BIG) {
		t.Errorf("error %v", err)
	}
}

// Jumps lead behind what they leave out.
func TestJumps(t *testing.T) {
	p := New(0)
	p.Step("one")
	p.Unless(p.NewReg(), func() { p.Add(ReportDone) })
	p.Alternative(func() { p.Call(unix.SYS_GETPID); p.Try(unix.SYS_GETPPID) }, func() { p.Add(ReportDegrade) })
	var got []int32
	for i := range p.Len() {
		got = append(got, p.At(i).OnErr)
	}
	want := []int32{2, Fatal, 5, Ignore, 6, Fatal}
	for i := range want {
		if got[i] != want[i] || len(got) != len(want) {
			t.Fatalf("jumps %v, want %v", got, want)
		}
	}
}

// A program with too many registers is a mistake of its writer.
func TestTooManyRegisters(t *testing.T) {
	p := New(MaxRegs - 1)
	if r := p.NewReg(); r != MaxRegs-1 || p.FreeReg() != MaxRegs {
		t.Errorf("the last register is %d", r)
	}
	defer func() {
		if recover() == nil {
			t.Error("there is a register too many")
		}
	}()
	p.NewReg()
}
