package world

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"substrate/internal/testenv"
)

// hanging is the longest time that a world may take beside a file system that does not answer. It
// takes milliseconds; the rest is for a busy machine.
const hanging = 5 * time.Second

// WLD1: a FUSE file system whose server has stopped answering blocks every process that asks it. A
// world does not ask.
func TestMachineHangingFUSE(t *testing.T) {
	onMachine(t, func(t *testing.T, m *machine) {
		dir := m.tree + "/hang"
		m.mkdir(dir)
		m.fill(m.tree, m.home, "/tmp")
		m.fuse(dir, nil)
		o := m.check(m.tree, m.tree, m.home, "/tmp")
		if o.Setup > hanging {
			t.Errorf("set up in %v, want less than %v", o.Setup, hanging)
		}
		m.noted(o, dir)
	})
}

// The same with a disk that was mounted below while the server still answered: it is read-only in a
// world, which says so.
func TestMachineBelowHangingFUSE(t *testing.T) {
	onMachine(t, func(t *testing.T, m *machine) {
		dir := m.tree + "/hang"
		m.mkdir(dir)
		m.fill(m.tree)
		m.fuse(dir, func() { m.tmpfs(dir+"/sub", "mode=0755"); m.fill(dir + "/sub") })
		unchanged := m.watch()
		o := m.world(m.tree, `cat hang/sub/keep; (echo x > hang/sub/new) 2>&1; echo x > new`)
		if want := "keep\nsh: 1: cannot create hang/sub/new: Read-only file system\n"; o.Stdout != want || o.Err != "" {
			t.Errorf("printed %q (%s), want %q", o.Stdout, o.Err, want)
		}
		if o.Setup > hanging {
			t.Errorf("set up in %v, want less than %v", o.Setup, hanging)
		}
		m.sameChanges(o, "+ new")
		m.noted(o, dir+"/sub")
		unchanged()
	})
}

// fuse mounts a FUSE file system at dir. It answers while body runs, and has a directory sub then.
func (m *machine) fuse(dir string, body func()) {
	m.t.Helper()
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		testenv.Skip(m.t, "needs /dev/fuse: "+err.Error())
	}
	m.mute = append(m.mute, dir)
	m.t.Cleanup(func() { unix.Close(fd) })
	data := fmt.Sprintf("fd=%d,rootmode=40755,user_id=%d,group_id=%d,allow_other", fd, m.uid, m.uid)
	must(m.t, unix.Mount("silent", dir, "fuse", 0, data))
	if body == nil {
		return
	}
	stop, stopped := make(chan bool), make(chan bool)
	go func() {
		defer close(stopped)
		buf := make([]byte, 1<<17)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10); err != nil {
				continue
			}
			if n, err := unix.Read(fd, buf); err == nil {
				_, _ = unix.Write(fd, fuseAnswer(buf[:n]))
			}
		}
	}()
	body()
	close(stop)
	<-stopped
}

// fuseAnswer answers a request as a file system that is an empty directory, but for sub.
//
// Source: Linux include/uapi/linux/fuse.h.
func fuseAnswer(request []byte) []byte {
	const (
		lookup, getattr, start = 1, 3, 26
		forever                = 1 << 30 // s
	)
	le := binary.LittleEndian
	attr := func(b []byte, ino uint64) []byte {
		b = le.AppendUint64(b, ino)
		b = append(b, make([]byte, 5*8+3*4)...) // size, blocks, times
		b = le.AppendUint32(b, unix.S_IFDIR|0o755)
		return append(b, make([]byte, 6*4)...) // nlink, uid, gid, rdev, blksize, flags
	}
	var body []byte
	var errno int32
	switch le.Uint32(request[4:]) {
	case start:
		body = le.AppendUint32(le.AppendUint32(nil, 7), 31)
		body = append(body, make([]byte, 64-len(body))...)
		le.PutUint32(body[20:], 1<<16) // max_write
	case lookup:
		body = le.AppendUint64(body, 2)
		body = le.AppendUint64(body, 0)
		body = le.AppendUint64(body, forever)
		body = le.AppendUint64(body, forever)
		body = append(body, make([]byte, 8)...)
		body = attr(body, 2)
	case getattr:
		body = le.AppendUint64(body, forever)
		body = append(body, make([]byte, 8)...)
		body = attr(body, le.Uint64(request[16:]))
	default:
		errno = -int32(unix.ENOSYS)
	}
	out := le.AppendUint32(nil, uint32(16+len(body)))
	out = le.AppendUint32(out, uint32(errno))
	out = append(out, request[8:16]...)
	return append(out, body...)
}
