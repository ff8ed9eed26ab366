package boot

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"substrate/internal/testenv"
	"substrate/internal/world/mount"
	"substrate/internal/world/net/dns"
	"substrate/internal/world/net/netlog"
	"substrate/internal/world/net/netns"
	"substrate/internal/world/net/nft"
	"substrate/internal/world/ops"
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

// network is what a namespace gets in these tests.
func network(t testing.TB) Network {
	table, err := nft.Table("world", 1, netns.Addrs(false)...)
	if err != nil {
		t.Fatal(err)
	}
	return Network{Links: netns.Batch(false), LinksOnly: netns.LoopbackOnly(), Rules: table.Batch(), Log: netlog.Bind(1)}
}

// start starts a world.
func start(t testing.TB, s *Setup, change ...func(*Base)) *Process {
	pr, err := Start(os.Geteuid() != 0)
	if err != nil {
		t.Fatal(err)
	}
	base := &Base{UID: os.Getuid(), GID: os.Getgid(), Group: -1, Network: network(t), Verbose: s.Verbose}
	for _, c := range change {
		c(base)
	}
	if err := errors.Join(pr.Configure(base), pr.Execute(s)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pr.Reap(); err != nil {
			t.Error(err)
		}
	})
	return pr
}

// story is what the processes of a world report: each message as a line, and the last.
type story struct {
	lines []string
	last  Message
	fds   map[int32][]int // by the kind of the message
}

// follow receives messages until one of that kind, or the last.
func follow(t testing.TB, pr *Process, until int32) story {
	st := story{fds: map[int32][]int{}}
	for {
		m, fds, err := pr.Receive()
		if err != nil {
			t.Fatalf("Receive: %v after %q", err, st.lines)
		}
		t.Cleanup(func() {
			for _, fd := range fds {
				unix.Close(fd)
			}
		})
		st.fds[m.Kind] = fds
		line := fmt.Sprintf("%d %s", m.Kind, pr.Step(m))
		if m.Errno != 0 {
			line += ": " + syscall.Errno(m.Errno).Error()
		}
		st.lines, st.last = append(st.lines, line), m
		if m.Kind == until || m.Kind == MsgFail || m.Kind == MsgExit {
			return st
		}
	}
}

// sh is a setup that runs a shell script, whose output goes to the file that is returned.
func sh(t testing.TB, script string) (*Setup, *os.File) {
	s := setup(t, t.TempDir(), "/bin/sh", "-c", script)
	out, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = out.Close() })
	s.Command.Stdio[1] = int(out.Fd())
	return s, out
}

// printed is what is in a file.
func printed(t testing.TB, f *os.File) string {
	text, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestStatus(t *testing.T) {
	for _, test := range []struct {
		script string
		want   int
	}{{"exit 7", 7 << 8}, {"kill -TERM $$; sleep 5", 15}, {"test $$ -ne 1 && test \"$A\" = b", 0}} {
		s, _ := sh(t, test.script)
		if st := follow(t, start(t, s), MsgExit); st.last.Kind != MsgExit || int(st.last.Status) != test.want {
			t.Errorf("%q: %q, status %#x, want %#x", test.script, st.lines, st.last.Status, test.want)
		}
	}
}

// Every step is reported in its order if it is asked for.
func TestSteps(t *testing.T) {
	s, _ := sh(t, "exit 0")
	s.Verbose = true
	lines := follow(t, start(t, s), MsgExit).lines
	inInit, inCommand := []string{"1 mntns", "1 nft", "1 netns", "5 start"}, []string{"1 bind", "1 proc", "1 pivot_root", "6 start"}
	if os.Geteuid() != 0 {
		inInit = slices.Insert(inInit, 0, "1 userns")
	}
	for _, want := range [][]string{inInit, inCommand} { // the two run beside each other
		var got []string
		for _, l := range lines {
			if slices.Contains(want, l) {
				got = append(got, l)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("steps %q, want %q in %q", got, want, lines)
		}
	}
}

// What the command is given: where it is, and what it may do.
func TestCommand(t *testing.T) {
	s, out := sh(t, "pwd; umask; ulimit -n; ulimit -Hn; grep Sig[BI] /proc/self/status; cat; echo $*; ls /proc/self/fd")
	s.Command.Paths, s.Command.Argv[0] = []string{"/bin/bash"}, "bash" // dash unblocks signals
	blocked := uint64(1 << (unix.SIGUSR2 - 1))
	in := filepath.Join(t.TempDir(), "in")
	if err := os.WriteFile(in, []byte("skipped read"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := &s.Command
	c.Dir, c.Umask, c.NoFile, c.Blocked = "/usr", 0o27, &unix.Rlimit{Cur: 123, Max: 234}, &blocked
	c.Ignored, c.Stdin = 1<<(unix.SIGHUP-1)|1<<(unix.SIGKILL-1), &Reopen{Path: in, Offset: 8}
	if st := follow(t, start(t, s), MsgExit); st.last.Status != 0 {
		t.Fatalf("%q, status %#x", st.lines, st.last.Status)
	}
	// The test may have inherited ignored signals that the Go runtime leaves alone, such as 32.
	ignored := ownIgnored(t) | 1<<(unix.SIGHUP-1)
	want := fmt.Sprintf("/usr\n0027\n123\n234\nSigBlk:\t0000000000000800\nSigIgn:\t%016x\nread\n0\n1\n2\n3\n", ignored)
	if got := printed(t, out); got != want {
		t.Errorf("the command printed %q, want %q", got, want)
	}
}

// ownIgnored returns the signals that this process ignores, bit n-1 for signal n.
func ownIgnored(t *testing.T) (set uint64) {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "SigIgn:\t")
	if _, err := fmt.Sscanf(rest, "%x", &set); err != nil {
		t.Fatal(err)
	}
	return set
}

// What cannot be done is reported: the world goes on without, or ends.
func TestReports(t *testing.T) {
	missing := mount.Mount{Kind: mount.Tmpfs, Step: "missing", Target: "/nowhere/at/all"}
	for _, tc := range []struct {
		name   string
		setup  func(*Setup)
		base   func(*Base)
		report string
		last   int32
	}{
		{"mount", func(s *Setup) { s.Mounts = append(s.Mounts, missing) }, nil, "2 missing: no such file or directory", MsgFail},
		{"directory", func(s *Setup) { s.Command.Dir = "/nowhere" }, nil, `2 chdir "/nowhere": no such file or directory`, MsgFail},
		{"program", func(s *Setup) { s.Command.Paths = []string{"/nowhere/true"} }, nil, "3 exec: no such file or directory", MsgExit},
		{"standard input", func(s *Setup) { s.Command.Stdin = &Reopen{Path: "/nowhere"} }, nil, "8 stdin: no such file or directory", MsgExit},
		{"standard input without a name", func(s *Setup) { s.Command.Stdin = &Reopen{} }, nil, "8 stdin", MsgExit},
		{"cgroup", nil, func(b *Base) { b.Group = 1 }, "8 cgroup: bad file descriptor", MsgExit},
		{"rules", nil, func(b *Base) { b.Network.Rules = b.Network.Rules[:16] }, "8 nft: no data available", MsgExit},
		{"routes", nil, func(b *Base) { b.Network.Rules, b.Network.LinksOnly = make([]byte, 16), make([]byte, 16) }, "8 netns: no data available", MsgExit},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, _ := sh(t, "exit 0")
			var change []func(*Base)
			if tc.setup != nil {
				tc.setup(s)
			}
			if tc.base != nil {
				change = append(change, tc.base)
			}
			st := follow(t, start(t, s, change...), MsgExit)
			if !slices.Contains(st.lines, tc.report) || st.last.Kind != tc.last {
				t.Errorf("%q, want %q", st.lines, tc.report)
			}
		})
	}
}

// Signals from outside reach the command's process group, and one of our own everybody.
func TestSignals(t *testing.T) {
	for _, tc := range []struct {
		sig  syscall.Signal
		want int32
	}{{unix.SIGUSR1, 9 << 8}, {unix.SIGIO, 8 << 8}, {SignalTermAll, 7 << 8}, {unix.SIGKILL, -1}} {
		s, out := sh(t, "trap 'exit 9' USR1; trap 'exit 8' IO; trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done")
		pr := start(t, s)
		for printed(t, out) == "" {
			time.Sleep(time.Millisecond)
		}
		if err := pr.Signal(tc.sig); err != nil {
			t.Fatal(err)
		}
		if tc.want >= 0 {
			if st := follow(t, pr, MsgExit); st.last.Status != tc.want {
				t.Errorf("%v: status %#x, want %#x", tc.sig, st.last.Status, tc.want)
			}
			continue
		}
		var err error
		for err == nil {
			var fds []int
			_, fds, err = pr.Receive()
			for _, fd := range fds { // one that could not be opened is a copy of the other end
				unix.Close(fd)
			}
		}
		if !errors.Is(err, ErrGone) {
			t.Errorf("%v: %v, want %v", tc.sig, err, ErrGone)
		}
	}
}

// What the command leaves behind ends with it, before its end is reported.
func TestNobodyIsLeft(t *testing.T) {
	s, out := sh(t, "trap '' TERM; (sleep 1000; echo late) & setsid sleep 1000 & exit 3")
	pr := start(t, s)
	st := follow(t, pr, MsgExit)
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pr.PID(), pr.PID()))
	if st.last.Status != 3<<8 || err == nil && len(children) > 0 || printed(t, out) != "" {
		t.Errorf("status %#x, children %q, printed %q", st.last.Status, children, printed(t, out))
	}
}

// The supervisor gets the uppers in memory and the other end of the PTY, and both sides of the
// network.
func TestDescriptorsOfAWorld(t *testing.T) {
	s, _ := sh(t, "test -t 0 && echo terminal")
	s.Command.TTY = true
	memory := t.TempDir()
	s.Memory = &mount.Memory{Dir: memory, Data: "mode=0700", Dirs: []mount.MemoryDir{
		{Path: memory + "/upper", Mode: 0o1755, UID: os.Getuid(), GID: os.Getgid()}, {Path: memory + "/work", Mode: 0o700, UID: -1},
	}}
	s.Mounts = append(s.Mounts, mount.Mount{Kind: mount.Tmpfs, Step: "dev", Target: "/dev", Mode: 0o755},
		mount.Mount{Kind: mount.Mkdir, Step: "dev", Target: "/dev/pts", Mode: 0o755},
		mount.Mount{Kind: mount.Devpts, Step: "dev", Target: "/dev/pts", Data: "newinstance,ptmxmode=0666,mode=0620"})
	pr := start(t, s, func(b *Base) { b.Network.DNS = dns.Sockaddr(netip.MustParseAddrPort("127.0.0.1:5353")) })
	st := follow(t, pr, MsgExit)
	net, view := st.fds[MsgNet], st.fds[MsgBegin]
	if len(net) != netFDs || len(view) != viewFDs || st.last.Status != 0 {
		t.Fatalf("descriptors %v and %v, %q, status %#x", net, view, st.lines, st.last.Status)
	}
	for i, domain := range map[int]int{FDLog: unix.AF_NETLINK, FDDNS: unix.AF_INET} {
		if got, err := unix.GetsockoptInt(net[i], unix.SOL_SOCKET, unix.SO_DOMAIN); got != domain {
			t.Errorf("descriptor %d is of domain %d, %v; want %d", i, got, err, domain)
		}
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(net[FDNet], &fs); os.Geteuid() == 0 && fs.Type != unix.NSFS_MAGIC {
		t.Errorf("the network namespace is of type %#x, %v", fs.Type, err)
	}
	var dir unix.Stat_t
	if err := unix.Fstatat(view[FDUpper], "upper", &dir, 0); err != nil || dir.Mode&0o7777 != 0o1755 {
		t.Errorf("the upper has mode %#o, %v", dir.Mode, err)
	}
	b := make([]byte, 64)
	if n, err := unix.Read(view[FDMaster], b); err != nil || !strings.HasPrefix(string(b[:n]), "terminal") {
		t.Errorf("the terminal shows %q, %v", b[:max(n, 0)], err)
	}
}

func BenchmarkTrue(b *testing.B) {
	dir := b.TempDir()
	for b.Loop() {
		follow(b, start(b, setup(b, dir, "/bin/true")), MsgExit)
	}
}

// WLD4: the init process, whose memory is in the world, holds nothing that the supervisor has on
// its heap.
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
		t.Errorf("the init process has a mapping at %#x, where the heap of the supervisor is:\n%s", address, maps)
	}
	if err := pr.Reap(); err != nil {
		t.Error(err)
	}
	runtime.KeepAlive(onHeap)
}

func mapsOf(t *testing.T, pid int) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// covers reports whether one of the mappings in maps has the address.
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
	p := ops.New(firstReg)
	s := &Setup{Staging: "/"}
	for i := range 300 {
		s.Mounts = append(s.Mounts, mount.Mount{Kind: mount.Fuse, Step: "fuse", Target: fmt.Sprintf("/%d", i)})
	}
	s.awaitServed(p)
	n := int(p.Len())
	if _, err := p.Part(0); n != len(s.Mounts) || err != nil {
		t.Errorf("%d ops, %v; want %d", n, err, len(s.Mounts))
	}
}
