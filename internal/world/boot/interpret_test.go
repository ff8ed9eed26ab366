package boot

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"substrate/internal/testenv"
	"substrate/internal/world/ops"
)

// played is what the interpreter did in the process of the test.
type played struct {
	*state
	pr       *Process
	messages []Message
	fds      []int // that came with them
}

// play writes one part and works through it in this process. After its last op the supervisor is
// gone. The part comes with descriptors, for the registers from firstReg on.
func play(t *testing.T, write func(p *ops.Program), fds ...int) *played {
	t.Helper()
	pr, st := paired(t)
	pr.p.Step("start")
	for range fds {
		pr.p.NewReg()
	}
	write(pr.p)
	pr.p.Add(ops.ReadPart, ops.Num(0))
	if err := pr.send(fds...); err != nil {
		t.Fatal(err)
	}
	hangUp(t, pr)
	readPart(st, uintptr(firstReg))
	run(st)
	return collect(t, pr, st)
}

// paired returns a supervisor's side and the state of a process that has read nothing yet.
func paired(t *testing.T) (*Process, *state) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	base := uintptr(ops.Base)
	at, err := unix.MmapPtr(-1, 0, pointer(&base), ops.Room, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE|unix.MAP_FIXED_NOREPLACE)
	if err != nil {
		t.Fatal(err)
	}
	st := &state{inbox: ops.Base}
	st.regs[regSocket] = uintptr(pair[1])
	t.Cleanup(func() {
		_ = unix.MunmapPtr(at, ops.Room)
		_ = unix.Close(pair[0])
		_ = unix.Close(pair[1])
	})
	return &Process{conn: pair[0], p: ops.New(firstReg)}, st
}

// hangUp is the end of the supervisor, as the process sees it.
func hangUp(t *testing.T, pr *Process) {
	t.Helper()
	if err := unix.Shutdown(pr.conn, unix.SHUT_WR); err != nil {
		t.Fatal(err)
	}
}

// collect receives what the process has reported.
func collect(t *testing.T, pr *Process, st *state) *played {
	t.Helper()
	got := &played{state: st, pr: pr}
	if err := unix.Shutdown(int(st.regs[regSocket]), unix.SHUT_WR); err != nil {
		t.Fatal(err)
	}
	for {
		m, fds, err := pr.Receive()
		if errors.Is(err, ErrGone) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got.messages = append(got.messages, m)
		got.fds = append(got.fds, fds...)
	}
	t.Cleanup(func() {
		for _, fd := range got.fds {
			_ = unix.Close(fd)
		}
	})
	return got
}

// wantMessages compares kinds, steps and errors.
func (g *played) wantMessages(t *testing.T, want ...Message) {
	t.Helper()
	if !slices.Equal(g.messages, want) {
		t.Errorf("messages %+v, want %+v", g.messages, want)
	}
}

// A call puts its result into a register, and later calls take it from there.
func TestRegisters(t *testing.T) {
	var copied ops.Reg
	got := play(t, func(p *ops.Program) {
		fd := p.CallReg(unix.SYS_OPENAT, ops.CWD, p.Text("/dev/null"), ops.Num(unix.O_RDWR|unix.O_CLOEXEC), ops.Num(0))
		copied = p.CallReg(unix.SYS_FCNTL, ops.FromReg(fd), ops.Num(unix.F_DUPFD_CLOEXEC), ops.Num(500))
		p.Call(unix.SYS_CLOSE, ops.FromReg(fd))
		p.Call(unix.SYS_CLOSE, ops.FromReg(copied))
	})
	got.wantMessages(t)
	if fd := got.regs[copied]; fd < 500 || fd > 600 || got.status != 125 {
		t.Errorf("register %d, status %d", fd, got.status)
	}
}

// What comes after a call depends on its error.
func TestFailures(t *testing.T) {
	const badFD = 999
	closeBad := func(p *ops.Program) *ops.Op { return p.Call(unix.SYS_CLOSE, ops.Num(badFD)) }
	for _, tc := range []struct {
		name  string
		write func(p *ops.Program)
		want  []Message
	}{
		{"fatal", func(p *ops.Program) {
			p.Step("two")
			closeBad(p)
			p.Add(ops.ReportDone)
		}, []Message{{Kind: MsgFail, Step: 1, Errno: int32(unix.EBADF)}}},
		{"ignored", func(p *ops.Program) {
			p.Try(unix.SYS_CLOSE, ops.Num(badFD))
			p.Add(ops.ReportDone)
		}, []Message{{Kind: MsgStep}}},
		{"wanted, next", func(p *ops.Program) {
			closeBad(p).WantErr = int32(unix.EBADF)
			p.Add(ops.ReportDone)
		}, []Message{{Kind: MsgStep}}},
		{"wanted, elsewhere", func(p *ops.Program) {
			o := closeBad(p)
			o.WantErr, o.Skip = int32(unix.EBADF), 2
			p.Add(ops.ReportDone)
		}, nil},
		{"another than wanted", func(p *ops.Program) {
			closeBad(p).WantErr = int32(unix.EPERM)
		}, []Message{{Kind: MsgFail, Errno: int32(unix.EBADF)}}},
		{"elsewhere", func(p *ops.Program) {
			closeBad(p).OnErr = 2
			p.Add(ops.ReportDone)
			p.Add(ops.ReportDegrade)
		}, []Message{{Kind: MsgDegrade, Errno: int32(unix.EBADF)}}},
		{"success, elsewhere", func(p *ops.Program) {
			p.Call(unix.SYS_GETPID).Next = 2
			p.Add(ops.ReportDone)
		}, nil},
		{"alternative", func(p *ops.Program) {
			p.Alternative(func() { closeBad(p); p.Add(ops.ReportDone) }, func() { p.Add(ops.ReportDegrade) })
			p.Step("after")
			p.Add(ops.ReportDone)
		}, []Message{{Kind: MsgDegrade, Errno: int32(unix.EBADF)}, {Kind: MsgStep, Step: 1}}},
		{"no alternative", func(p *ops.Program) {
			p.Alternative(func() { p.Add(ops.ReportDone) }, func() { p.Add(ops.ReportDegrade) })
		}, []Message{{Kind: MsgStep}}},
		{"unless, no", func(p *ops.Program) {
			p.Unless(p.CallReg(unix.SYS_GETPID), func() { p.Add(ops.ReportDone) })
		}, nil},
		{"unless, yes", func(p *ops.Program) {
			p.Unless(p.NewReg(), func() { p.Add(ops.ReportDone) })
		}, []Message{{Kind: MsgStep}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := play(t, tc.write)
			got.wantMessages(t, tc.want...)
			if got.status != 125 {
				t.Errorf("status %d, want 125", got.status)
			}
		})
	}
}

// Descriptors go both ways: those of a part arrive in registers, and those of a message replace the
// socket in a list.
func TestDescriptors(t *testing.T) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	got := play(t, func(p *ops.Program) {
		fds := newFDs(p)
		set(p, fds[0], firstReg+1)
		p.Call(unix.SYS_CLOSE, ops.FromReg(firstReg+1))
		sendFDs(p, MsgNet, fds[:2])
		for _, r := range fds {
			p.Call(unix.SYS_CLOSE, ops.FromReg(r))
		}
		p.Call(unix.SYS_CLOSE, ops.FromReg(firstReg))
	}, pipe[0], pipe[1])
	_ = unix.Close(pipe[1])
	defer unix.Close(pipe[0])
	if len(got.messages) != 1 || got.messages[0].Kind != MsgNet || len(got.fds) != 2 {
		t.Fatalf("messages %+v with descriptors %v", got.messages, got.fds)
	}
	if m := got.messages[0]; m.Utime+m.Stime <= 0 {
		t.Errorf("no time in %+v", m)
	}
	if _, err := unix.Write(got.fds[0], []byte("x")); err != nil {
		t.Fatal(err)
	}
	var b [2]byte
	if n, err := unix.Read(pipe[0], b[:]); n != 1 || err != nil || b[0] != 'x' {
		t.Errorf("read %d bytes %q, %v", n, b, err)
	}
	if kind, err := unix.GetsockoptInt(got.fds[1], unix.SOL_SOCKET, unix.SO_TYPE); kind != unix.SOCK_SEQPACKET {
		t.Errorf("the second is of type %d, %v; want the report socket", kind, err)
	}
}

// A part may be larger than a message, and the next is put behind it.
func TestLargeParts(t *testing.T) {
	pr, st := paired(t)
	pr.p.Step("start")
	var parts [][]byte
	for range 2 {
		pr.p.Data(make([]byte, 3*chunk))
		pr.p.Add(ops.ReportDone)
		pr.p.Add(ops.ReadPart, ops.Num(0))
		part, err := pr.p.Part(0)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, part)
	}
	sent := make(chan error, 1)
	go func() { // there is more than the socket holds
		sent <- errors.Join(pr.write(parts[0]), pr.write(parts[1]), unix.Shutdown(pr.conn, unix.SHUT_WR))
	}()
	readPart(st, 0)
	run(st)
	if err := <-sent; err != nil {
		t.Error(err)
	}
	got := collect(t, pr, st)
	got.wantMessages(t, Message{Kind: MsgStep}, Message{Kind: MsgStep})
	if want := uintptr(ops.Base + 6*chunk); st.inbox < want || st.inbox%4096 != 0 {
		t.Errorf("the third part would be at %#x, want a page behind %#x", st.inbox, want)
	}
}

// A part whose descriptors were lost on the way is not worked through.
func TestLostDescriptors(t *testing.T) {
	pr, st := paired(t)
	pr.p.Step("start")
	pr.p.Add(ops.ReportDone)
	part, err := pr.p.Part(1)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Sendmsg(pr.conn, part, nil, nil, 0); err != nil {
		t.Fatal(err)
	}
	readPart(st, 0)
	run(st)
	collect(t, pr, st).wantMessages(t, Message{Kind: MsgFail, Errno: int32(unix.EMFILE)})
}

// A process without a supervisor ends.
func TestCheckAlive(t *testing.T) {
	got := play(t, func(p *ops.Program) {
		p.Add(ops.ReportDone)
		p.Add(ops.CheckAlive)
		p.Step("after")
		p.Add(ops.ReportDone)
	})
	got.wantMessages(t, Message{Kind: MsgStep})
	_, st := connected(t)
	checkAlive(st)
	if st.ended {
		t.Error("a process ends though its supervisor lives")
	}
}

// connected is paired without memory for parts.
func connected(t *testing.T) (*Process, *state) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(pair[0]); _ = unix.Close(pair[1]) })
	st := &state{}
	st.regs[regSocket] = uintptr(pair[1])
	return &Process{conn: pair[0]}, st
}

// An error in any of the answers of netlink is the error of the op, and so is no answer.
func TestAck(t *testing.T) {
	header := func(kind, flags uint16) []byte {
		h := unix.NlMsghdr{Len: unix.SizeofNlMsghdr, Type: kind, Flags: flags}
		return slices.Clone(unsafe.Slice((*byte)(unsafe.Pointer(&h)), unix.SizeofNlMsghdr))
	}
	const ack = unix.NLM_F_REQUEST | unix.NLM_F_ACK
	noop, unknown, silent := header(unix.NLMSG_NOOP, ack), header(0xfff0, ack), header(unix.NLMSG_NOOP, unix.NLM_F_REQUEST)
	for _, tc := range []struct {
		name  string
		batch []byte
		want  syscall.Errno
	}{
		{"good", slices.Concat(noop, noop), 0},
		{"bad", slices.Concat(noop, unknown), unix.EOPNOTSUPP},
		{"none", silent, unix.ENODATA},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := play(t, func(p *ops.Program) {
				sock := netlink(p, unix.NETLINK_ROUTE)
				p.Alternative(func() { request(p, sock, tc.batch) }, func() { p.Add(ops.ReportDegrade) })
				p.Call(unix.SYS_CLOSE, ops.FromReg(sock))
				p.Step("done")
				p.Add(ops.ReportDone)
			})
			want := []Message{{Kind: MsgStep, Step: 1}}
			if tc.want != 0 {
				want = slices.Insert(want, 0, Message{Kind: MsgDegrade, Errno: int32(tc.want)})
			}
			// The kernel answers an unknown message with one error or the other, by its version.
			if len(got.messages) == 2 && got.messages[0].Errno == int32(unix.EINVAL) {
				got.messages[0].Errno = int32(unix.EOPNOTSUPP)
			}
			got.wantMessages(t, want...)
		})
	}
	if errno := acks(&state{}, 999); errno != unix.EBADF {
		t.Errorf("acks of a closed descriptor = %v", errno)
	}
}

// The candidates for the command are tried as execvp(3) does.
//
// Source: execvp(3), "if permission is denied for a file".
func TestExecute(t *testing.T) {
	dir := t.TempDir()
	file, text := filepath.Join(dir, "file"), filepath.Join(dir, "text")
	for path, mode := range map[string]os.FileMode{file: 0o600, text: 0o700} {
		if err := os.WriteFile(path, []byte("no program"), mode); err != nil {
			t.Fatal(err)
		}
	}
	missing := filepath.Join(dir, "missing")
	for _, tc := range []struct {
		paths []string
		want  syscall.Errno
	}{
		{nil, unix.ENOENT},
		{[]string{missing, file + "/below"}, unix.ENOENT},
		{[]string{file, missing}, unix.EACCES},
		{[]string{dir, missing}, unix.EACCES},
		{[]string{missing, text, file}, unix.ENOEXEC},
	} {
		t.Run("", func(t *testing.T) {
			got := play(t, func(p *ops.Program) {
				p.Add(ops.Exec, p.Strings(tc.paths), p.Strings([]string{"x"}), p.Strings(nil))
			})
			got.wantMessages(t, Message{Kind: MsgExec, Errno: int32(tc.want)})
			if got.status != 127 {
				t.Errorf("status %d, want 127", got.status)
			}
		})
	}
}

// A command process starts where the op says, also without the cgroup.
func TestForkCommand(t *testing.T) {
	testenv.NeedUserns(t)
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	got := play(t, func(p *ops.Program) {
		at := p.Len()
		p.Add(ops.Fork, ops.Num(999)) // which is no cgroup
		p.Add(ops.ReadPart, ops.Num(0))
		p.At(at).OnErr = p.Len()
		p.Step("command")
		p.Add(ops.Exec, p.Strings([]string{path}), p.Strings([]string{path, "-test.run=^$"}), p.Strings(nil))
	})
	pid := int(got.command)
	var status unix.WaitStatus
	if _, err := unix.Wait4(pid, &status, 0, nil); err != nil || status != 0 {
		t.Errorf("process %d: status %#x, %v", pid, status, err)
	}
	got.wantMessages(t, Message{Kind: MsgDegrade, Errno: int32(unix.EBADF)})
}

// A capability without a bit leaves the bounding set.
func TestBound(t *testing.T) {
	testenv.NeedRoot(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // which ends with the goroutine
		perform(&state{}, &ops.Op{Kind: ops.Bound, Args: [6]uintptr{1 << unix.CAP_KILL}})
		for _, c := range []uintptr{unix.CAP_KILL, unix.CAP_SYS_ADMIN} {
			has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0)
			if err != nil || has != 0 != (c == unix.CAP_KILL) {
				t.Errorf("capability %d: %d, %v", c, has, err)
			}
		}
	}()
	<-done
}

// The init process ignores signals from inside, and ends when the supervisor does.
func TestInitEndsWithSupervisor(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pr, st := connected(t)
	st.command = 1 << 30                                        // no process
	owner := struct{ kind, pid int32 }{0, int32(unix.Gettid())} // F_OWNER_TID
	if _, _, errno := unix.Syscall(unix.SYS_FCNTL, st.regs[regSocket], unix.F_SETOWN_EX, uintptr(unsafe.Pointer(&owner))); errno != 0 {
		t.Fatal(errno)
	}
	if _, err := unix.FcntlInt(st.regs[regSocket], unix.F_SETFL, unix.O_RDWR|unix.O_ASYNC); err != nil {
		t.Fatal(err)
	}
	all, old := ^uint64(0), uint64(0)
	mask := func(how int, set, was *uint64) {
		unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, uintptr(how), uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(was)), 8, 0, 0)
	}
	mask(unix.SIG_SETMASK, &all, &old)
	for _, sig := range []syscall.Signal{unix.SIGUSR1, unix.SIGCHLD} {
		if err := unix.Tgkill(unix.Getpid(), unix.Gettid(), sig); err != nil {
			t.Error(err)
		}
	}
	if err := unix.Sendto(pr.conn, []byte("x"), 0, nil); err != nil {
		t.Error(err)
	}
	if err := unix.Shutdown(pr.conn, unix.SHUT_WR); err != nil {
		t.Error(err)
	}
	var b [1]byte
	if _, _, err := unix.Recvfrom(int(st.regs[regSocket]), b[:], 0); err != nil {
		t.Error(err)
	}
	perform(st, &ops.Op{Kind: ops.Init})
	mask(unix.SIG_SETMASK, &old, nil)
	if !st.ended || st.status != 125 {
		t.Errorf("ended %v, status %d", st.ended, st.status)
	}
}
