package config

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"substrate/internal/testenv"
)

// user returns a caller for tests.
func user(uid int, root bool) caller {
	return caller{
		uid: uid, gid: uid, root: root,
		cwd:    func() (string, error) { return "/work/dir", nil },
		home:   func(int) string { return "/home/from-passwd" },
		isSelf: func(path string) bool { return path == "/opt/substrate" },
	}
}

func TestRunAndOverlayRoots(t *testing.T) { // WLD6, WLD7
	tests := []struct {
		name    string
		env     []string
		who     caller
		run     []string
		overlay []string
	}{
		{
			"root",
			[]string{"HOME=/root", "XDG_RUNTIME_DIR=/run/user/0"},
			user(0, true),
			[]string{"/run/substrate"},
			[]string{"/var/lib/substrate/overlay", "/var/tmp/substrate-0/overlay", "/run/substrate/overlay"},
		},
		{
			"uid 0 without capabilities",
			[]string{"HOME=/root"},
			user(0, false),
			[]string{"/run/substrate", "/run/user/0/substrate", "/tmp/substrate-0"},
			[]string{
				"/var/lib/substrate/overlay", "/root/.local/state/substrate/overlay", "/var/tmp/substrate-0/overlay",
				"/run/substrate/overlay", "/run/user/0/substrate/overlay", "/tmp/substrate-0/overlay",
			},
		},
		{
			"user",
			[]string{"HOME=/home/u", "XDG_RUNTIME_DIR=/run/user/7"},
			user(7, false),
			[]string{"/run/user/7/substrate", "/tmp/substrate-7"},
			[]string{
				"/home/u/.local/state/substrate/overlay", "/var/tmp/substrate-7/overlay",
				"/run/user/7/substrate/overlay", "/tmp/substrate-7/overlay",
			},
		},
		{
			"user with other XDG directories",
			[]string{"HOME=/home/u", "XDG_RUNTIME_DIR=/x", "XDG_STATE_HOME=/y"},
			user(7, false),
			[]string{"/x/substrate", "/run/user/7/substrate", "/tmp/substrate-7"},
			[]string{
				"/y/substrate/overlay", "/var/tmp/substrate-7/overlay",
				"/x/substrate/overlay", "/run/user/7/substrate/overlay", "/tmp/substrate-7/overlay",
			},
		},
		{
			"relative XDG directories do not count",
			[]string{"HOME=/h", "XDG_RUNTIME_DIR=x", "XDG_STATE_HOME=y"},
			user(7, false),
			[]string{"/run/user/7/substrate", "/tmp/substrate-7"},
			[]string{
				"/h/.local/state/substrate/overlay", "/var/tmp/substrate-7/overlay",
				"/run/user/7/substrate/overlay", "/tmp/substrate-7/overlay",
			},
		},
		{
			"overlay root alone",
			[]string{"HOME=/h", "SUBSTRATE_OVERLAY_ROOT=/big/disk/"},
			user(0, true),
			[]string{"/run/substrate"},
			[]string{"/big/disk"},
		},
		{
			"relative overlay root",
			[]string{"HOME=/h", "SUBSTRATE_OVERLAY_ROOT=z"},
			user(0, true),
			[]string{"/run/substrate"},
			[]string{"/work/dir/z"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := load(test.env, test.who)
			if diff := cmp.Diff(test.run, c.RunRoots); diff != "" || c.RunRoot != test.run[0] {
				t.Errorf("RunRoot = %q, RunRoots differ (-want +got):\n%s", c.RunRoot, diff)
			}
			if diff := cmp.Diff(test.overlay, c.OverlayRoots); diff != "" {
				t.Errorf("OverlayRoots differ (-want +got):\n%s", diff)
			}
		})
	}
}

func TestUserBus(t *testing.T) { // CGR1
	const own = "unix:path=/run/user/7/bus"
	for _, test := range []struct{ dir, named, want string }{
		{"", "", own},
		{"/run/user/7", own, own},
		{"relative", "unix:abstract=/x,guid=1", own + ";unix:abstract=/x,guid=1"},
		{"/x", "", "unix:path=/x/bus"},
		{"/a;unixexec:path=/bin/sh", "unixexec:path=/bin/sh", own},
		{"", "unix:path=/a;unixexec:path=/bin/sh", own},
	} {
		got := userBus(vars{"XDG_RUNTIME_DIR": test.dir, "DBUS_SESSION_BUS_ADDRESS": test.named}, 7)
		if got != test.want {
			t.Errorf("userBus(%q, %q) = %q, want %q", test.dir, test.named, got, test.want)
		}
	}
}

func TestTracePath(t *testing.T) { // TRC1, REC9
	homeless := user(7, false)
	homeless.home = func(int) string { return "" }
	tests := []struct {
		name             string
		env              []string
		who              caller
		home, dir, trace string
	}{
		{"home", []string{"HOME=/home/u"}, user(7, false), "/home/u", "/home/u/.substrate", "/home/u/.substrate/trace.jsonl"},
		{"HOME unset", nil, user(7, false), "/home/from-passwd", "/home/from-passwd/.substrate", "/home/from-passwd/.substrate/trace.jsonl"},
		{"moved", []string{"HOME=/home/u", "SHIM_TRACE_LOG=/t/x.jsonl"}, user(7, false), "/home/u", "/home/u/.substrate", "/t/x.jsonl"},
		{"moved, relative", []string{"HOME=/home/u", "SHIM_TRACE_LOG=x.jsonl"}, user(7, false), "/home/u", "/home/u/.substrate", "/work/dir/x.jsonl"},
		{"no home", nil, homeless, "", "", ""},
		{"no home, moved", []string{"SHIM_TRACE_LOG=/t/x.jsonl"}, homeless, "", "/t", "/t/x.jsonl"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := load(test.env, test.who)
			got := [3]string{c.Home, c.Dir, c.Trace}
			if want := [3]string{test.home, test.dir, test.trace}; got != want {
				t.Errorf("home, dir, trace = %q, want %q", got, want)
			}
			if (c.ShimDir == "") != (test.home == "") {
				t.Errorf("ShimDir = %q with home %q: programs are never looked for beside a trace that was moved", c.ShimDir, test.home)
			}
		})
	}
}

func TestShell(t *testing.T) { // REC1
	tests := []struct {
		env  []string
		want string
	}{
		{nil, "/bin/bash"},
		{[]string{"SHELL="}, "/bin/bash"},
		{[]string{"SHELL=/bin/zsh"}, "/bin/zsh"},
		{[]string{"SHELL=/opt/substrate"}, "/bin/bash"},
		{[]string{"SHELL=/opt/wrapper", "SHIM_DEPTH=31"}, "/opt/wrapper"},
		{[]string{"SHELL=/opt/wrapper", "SHIM_DEPTH=32"}, "/bin/bash"},
	}
	for _, test := range tests {
		if got := load(test.env, user(7, false)).Shell; got != test.want {
			t.Errorf("load(%q).Shell = %q, want %q", test.env, got, test.want)
		}
	}
}

func TestIsSelfBehindSymlink(t *testing.T) { // REC1
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "sh")
	if err := os.Symlink(exe, link); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{link: true, exe: true, "/bin/sh": false, "/no/such": false, "substrate": true, "bash": false} {
		if got := isSelf(path); got != want {
			t.Errorf("isSelf(%q) = %v, want %v", path, got, want)
		}
	}
}

func TestVariables(t *testing.T) {
	c := load([]string{
		"HOME=/h", "SHIM_FSYNC=1", "TRACE_LOG_MAX_MB=7", "TRACE_LOG_KEEP=0", "SUBSTRATE_AGENT_ID=bot",
		"SHIM_SESSION_ID=ses_1", "SHIM_PARENT_SPAN=spn_2", "SHIM_DEPTH=3", "SHIM_CALLER=bash", "SHIM_CALL_STACK=bash/npm",
		"SUBSTRATE_NO_SHIMS=1", "SUBSTRATE_IN_WORLD=1", "SUBSTRATE_REPLAY_USE_WORLD=1", "SUBSTRATE_REQUIRE_WORLD=1", "SUBSTRATE_WORLD_STRATEGY=overlay",
		"SUBSTRATE_FS_DIFF_MAX=12", "SUBSTRATE_WORLD_MAX=5", "SUBSTRATE_LOG=debug", "SHIM_FSYNC=0",
		"SUBSTRATE_REDACT=off", "SUBSTRATE_CAPTURE=1", "SUBSTRATE_CAPTURE_MAX=99",
	}, user(7, false))
	want := Config{
		Home: "/h", Dir: "/h/.substrate", Trace: "/h/.substrate/trace.jsonl", ShimDir: "/h/.substrate/shims",
		Fsync: true, MaxMB: 7, Keep: 0, UID: 7, GID: 7, Shell: "/bin/bash", AgentID: "bot",
		SessionID: "ses_1", ParentSpan: "spn_2", Depth: 3, Caller: "bash", CallStack: []string{"bash", "npm"},
		Bus: "unix:path=/run/user/7/bus", NoShims: true, InWorld: true, UseWorld: true, RequireWorld: true, Strategy: "overlay", DiffMax: 12, WorldMax: 5, Log: "debug",
		NoRedact: true, Capture: true, CaptureMax: 99,
	}
	want.RunRoot, want.RunRoots, want.OverlayRoots = c.RunRoot, c.RunRoots, c.OverlayRoots
	if diff := cmp.Diff(want, c); diff != "" {
		t.Errorf("load differs (-want +got):\n%s", diff)
	}
	c = load([]string{"HOME=/h", "TRACE_LOG_MAX_MB=x", "TRACE_LOG_KEEP=-1", "SHIM_DEPTH=", "SHIM_SESSION_ID=a b", "SHIM_PARENT_SPAN=\"}"}, user(7, false))
	if c.MaxMB != 100 || c.Keep != 3 || c.Depth != 0 || c.AgentID != "human" || c.SessionID != "" || c.ParentSpan != "" {
		t.Errorf("load of values without sense = %+v, want defaults", c)
	}
}

// REC9, WLD10: a setting with an invalid value counts as not set. The problem says what it may be
// and what is used.
func TestProblems(t *testing.T) {
	const flag, number = "1 or 0", "a whole number, 0 or more"
	cores := strconv.Itoa(2 * runtime.NumCPU())
	want := []Problem{
		{"SHIM_FSYNC", "yes", flag, "0", false},
		{"TRACE_LOG_MAX_MB", "-1", number, "100", false},
		{"TRACE_LOG_KEEP", "x", number, "3", false},
		{"SUBSTRATE_NO_SHIMS", "TRUE", flag, "0", false},
		{"SHIM_BYPASS", "2", flag, "0", false},
		{"SUBSTRATE_REPLAY_USE_WORLD", "on", flag, "0", true},
		{"SUBSTRATE_REQUIRE_WORLD", " 1", flag, "0", true},
		{"SUBSTRATE_FS_DIFF_MAX", "…", number, "10000", true},
		{"SUBSTRATE_WORLD_MAX", "abc", number, cores, true},
		{"SUBSTRATE_REDACT", "of", "on or off", "on", false},
		{"SUBSTRATE_CAPTURE", "maybe", flag, "0", false},
		{"SUBSTRATE_CAPTURE_MAX", "99999999999999999999", "a whole number up to 9223372036854775807", "65536", false},
	}
	env := []string{"HOME=/h"}
	for _, p := range want {
		env = append(env, p.Name+"="+p.Value)
	}
	plain := load(env[:1], user(7, false))
	got := load(env, user(7, false))
	if diff := cmp.Diff(want, got.Problems); diff != "" {
		t.Errorf("problems differ (-want +got):\n%s", diff)
	}
	got.Problems = nil
	if diff := cmp.Diff(plain, got); diff != "" {
		t.Errorf("a value without sense does not count as not set (-not set +got):\n%s", diff)
	}
	for _, p := range want {
		for _, value := range map[bool][]string{true: {"", "0", "12"}, false: {"", "1", "true", "0", "false", "no", "off"}}[strings.Contains(p.Want, "number")] {
			if got := load([]string{p.Name + "=" + value}, user(7, false)).Problems; got != nil {
				t.Errorf("problems of %s=%s: %+v", p.Name, value, got)
			}
		}
	}
}

func TestCallStackHasEightNames(t *testing.T) { // REC8, SHM6
	long := []string{"a", "b", "c", "d", "e", "f", "g", "h", "i"}
	if got := JoinCallStack(long); got != "b/c/d/e/f/g/h/i" {
		t.Errorf("JoinCallStack(%q) = %q", long, got)
	}
	if got := SplitCallStack("a/b/c/d/e/f/g/h/i"); !slices.Equal(got, long[1:]) {
		t.Errorf("SplitCallStack = %q, want %q", got, long[1:])
	}
	if got := SplitCallStack(""); got != nil {
		t.Errorf("SplitCallStack(%q) = %q, want nil", "", got)
	}
}

func TestHomeInPasswd(t *testing.T) {
	const text = "root:x:0:0:root:/root:/bin/bash\nbroken:7\nu:x:7:7:U:/home/u:/bin/sh\nlast:x:8:8::/last:"
	for uid, want := range map[int]string{0: "/root", 7: "/home/u", 8: "/last", 9: ""} {
		if got := homeIn(text, uid); got != want {
			t.Errorf("homeIn(%d) = %q, want %q", uid, got, want)
		}
	}
}

// TestLoadAsksTheKernel compares the raw capget with /proc.
func TestLoadAsksTheKernel(t *testing.T) {
	c := Load([]string{"HOME=/h"})
	if c.UID != os.Geteuid() || c.GID != os.Getegid() {
		t.Errorf("Load: uid %d, gid %d", c.UID, c.GID)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("no /proc: " + err.Error())
	}
	if want := c.UID == 0 && effectiveHolds(t, string(status), capNetAdmin, capSysAdmin); c.Root != want {
		t.Errorf("Load: Root = %v, want %v", c.Root, want)
	}
}

func BenchmarkLoad(b *testing.B) {
	env := os.Environ()
	for b.Loop() {
		Load(env)
	}
}

// WLD2: root of a user namespace does not count as root: it has no capabilities over the machine.
func TestInFirstUserns(t *testing.T) {
	link, err := os.Readlink("/proc/self/ns/user")
	if err != nil {
		t.Fatal(err)
	}
	if want := link == "user:[4026531837]"; inFirstUserns() != want {
		t.Errorf("inFirstUserns = %v in %s", !want, link)
	}
	testenv.InUserns(t, func(t *testing.T) {
		if inFirstUserns() {
			t.Error("inFirstUserns = true in another user namespace")
		}
	})
}
