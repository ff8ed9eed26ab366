package worldinit

import (
	"os"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"substrate/internal/world/mount"
)

func startTrue(t testing.TB, staging string, argv ...string) (Message, *Process) {
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	s := &Setup{
		Namespaces: Namespaces{User: os.Geteuid() != 0, Cgroup: -1},
		UID:        os.Getuid(), GID: os.Getgid(),
		Staging: staging,
		Mounts: []mount.Mount{
			{Kind: mount.RBind, Step: "bind", Source: "/", Target: "/"},
			{Kind: mount.Proc, Step: "proc", Target: "/proc"},
		},
		Command: Command{Paths: []string{"/nowhere/true", argv[0]}, Argv: argv, Dir: "/", Env: []string{"A=b"}, Stdio: [3]int{int(null.Fd()), 1, 2}, Umask: 0o22},
	}
	pr, err := s.Start()
	if err != nil {
		t.Fatal(err)
	}
	for {
		m, fds, err := pr.Receive()
		if err != nil {
			t.Fatalf("Receive: %v", err)
		}
		for _, fd := range fds {
			unix.Close(fd)
		}
		switch m.Kind {
		case MsgFail:
			t.Fatalf("step %s: %v", pr.Step(m), syscall.Errno(m.Errno))
		case MsgExec:
			t.Fatalf("exec: %v", syscall.Errno(m.Errno))
		case MsgExit:
			return m, pr
		}
	}
}

func TestStatus(t *testing.T) {
	runtime.LockOSThread()
	for _, test := range []struct {
		script string
		want   int
	}{{"exit 7", 7 << 8}, {"kill -TERM $$; sleep 5", 15}, {"test $$ -ne 1 && test \"$A\" = b", 0}} {
		m, pr := startTrue(t, t.TempDir(), "/bin/sh", "-c", test.script)
		if int(m.Status) != test.want {
			t.Errorf("%q: status %#x, want %#x", test.script, m.Status, test.want)
		}
		if err := pr.Reap(); err != nil {
			t.Error(err)
		}
	}
}

func BenchmarkTrue(b *testing.B) {
	runtime.LockOSThread()
	dir := b.TempDir()
	for b.Loop() {
		_, pr := startTrue(b, dir, "/bin/true")
		pr.Reap()
	}
}
