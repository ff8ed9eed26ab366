package boot

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"substrate/internal/testenv"
	"substrate/internal/world/mount"
	"substrate/internal/world/net/netlog"
	"substrate/internal/world/net/netns"
	"substrate/internal/world/net/nft"
)

// setup is a world of one bind mount that runs argv.
func setup(t testing.TB, staging string, argv ...string) *Setup {
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = null.Close() })
	return &Setup{
		Staging: staging,
		Mounts: []mount.Mount{
			{Kind: mount.RBind, Step: "bind", Source: "/", Target: "/"},
			{Kind: mount.Proc, Step: "proc", Target: "/proc"},
		},
		Command: Command{Paths: []string{"/nowhere/true", argv[0]}, Argv: argv, Dir: "/", Env: []string{"A=b"}, Stdio: [3]int{int(null.Fd()), 1, 2}, Umask: 0o22},
	}
}

// start starts a world with a network namespace in which nothing is set up.
func start(t testing.TB, staging string, argv ...string) *Process {
	pr, err := Start(os.Geteuid() != 0)
	if err != nil {
		t.Fatal(err)
	}
	table, err := nft.Table("world", 1, netns.Addrs(false)...)
	if err != nil {
		t.Fatal(err)
	}
	base := &Base{UID: os.Getuid(), GID: os.Getgid(), Group: -1, Network: Network{
		Links: netns.Batch(false), LinksOnly: netns.LoopbackOnly(), Rules: table.Batch(), Log: netlog.Bind(1),
	}}
	if err := errors.Join(pr.Configure(base), pr.Execute(setup(t, staging, argv...))); err != nil {
		t.Fatal(err)
	}
	return pr
}

func startTrue(t testing.TB, staging string, argv ...string) (Message, *Process) {
	pr := start(t, staging, argv...)
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
	dir := b.TempDir()
	for b.Loop() {
		_, pr := startTrue(b, dir, "/bin/true")
		pr.Reap()
	}
}

// WLD4: the first process, whose memory is in the world, holds nothing that the supervisor has on its heap, and the supervisor's
// own children hold it as before.
func TestNoHeapInTheWorld(t *testing.T) {
	testenv.NeedRoot(t)           // to look at a process that is not dumpable
	onHeap := make([]byte, 1<<20) // too big for a stack
	address := uintptr(unsafe.Pointer(&onHeap[0]))
	if !covers(t, mapsOf(t, os.Getpid()), address) {
		t.Fatalf("the supervisor has no mapping at %#x", address)
	}
	pr, err := Start(false)
	if err != nil {
		t.Fatal(err)
	}
	if maps := mapsOf(t, pr.PID()); covers(t, maps, address) || maps == "" {
		t.Errorf("the first process has a mapping at %#x, where the heap of the supervisor is:\n%s", address, maps)
	}
	if err := pr.Reap(); err != nil {
		t.Error(err)
	}
	runtime.KeepAlive(onHeap)
	flags, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(flags), " dc ") { // VM_DONTCOPY
		t.Errorf("after the fork the supervisor has mappings that its children would lack:\n%s", flags)
	}
}

func mapsOf(t *testing.T, pid int) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// covers says whether one of the mappings in maps has the address.
func covers(t *testing.T, maps string, address uintptr) bool {
	t.Helper()
	for line := range strings.Lines(maps) {
		var begin, end uintptr
		if _, err := fmt.Sscanf(line, "%x-%x", &begin, &end); err != nil {
			t.Fatalf("read %q: %v", line, err)
		}
		if address >= begin && address < end {
			return true
		}
	}
	return false
}

// WLD3: each of many FUSE mounts is waited for, and all are one step.
func TestManyFuseMounts(t *testing.T) {
	p := newProgram(make([]byte, 1<<20))
	s := &Setup{Staging: "/"}
	for i := range 300 {
		s.Mounts = append(s.Mounts, mount.Mount{Kind: mount.Fuse, Step: "fuse", Target: fmt.Sprintf("/%d", i)})
	}
	s.awaitServed(p)
	if len(p.ops) != len(s.Mounts) || p.err != nil {
		t.Errorf("%d ops, %v; want %d", len(p.ops), p.err, len(s.Mounts))
	}
}
