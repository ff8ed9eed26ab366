package state

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"substrate/internal/testenv"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// An object in world.json is removed only if the world could have made it.
func TestForgedState(t *testing.T) {
	dirs := Dirs{Overlay: []string{"/var/lib/substrate/overlay"}}
	for _, o := range []Object{
		{KindUpper, "/home/user"},
		{KindUpper, "/var/lib/substrate/overlay/other"},
		{KindUpper, "/var/lib/substrate/overlay/../../../home/spn_x"},
		{KindUpper, "/var/lib/substrate/overlay/spn_x/../../x"},
		{KindCgroup, "/sys/fs/cgroup/system.slice"},
		{KindCgroup, "/sys/fs/cgroup/substrate/other"},
		{KindNetns, "production"},
		{"mount", "/"},
	} {
		if plausible(o, "spn_x", dirs) == nil {
			t.Errorf("plausible(%v) took it", o)
		}
	}
	for _, o := range []Object{
		{KindUpper, "/var/lib/substrate/overlay/spn_x"},
		{KindCgroup, "/sys/fs/cgroup/unified/substrate/spn_x"},
		{KindNetns, "substrate-spn_x"},
	} {
		if err := plausible(o, "spn_x", dirs); err != nil {
			t.Errorf("plausible(%v) = %v", o, err)
		}
	}
}

// WLD8: of the processes of that name, only those that serve the uppers of the world are killed.
func TestEndServers(t *testing.T) {
	dir := testenv.TempDir(t)
	start := func(arg string) *exec.Cmd {
		cmd := exec.Command("/bin/sh")
		cmd.Args = []string{"fuse-overlayfs", "-c", "while :; do sleep 1000; done", arg}
		must(t, cmd.Start())
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
			exe, _ := os.Readlink(filepath.Join("/proc", strconv.Itoa(cmd.Process.Pid), "exe"))
			if !strings.Contains(exe, ".test") && exe != "" {
				return cmd
			}
			if time.Now().After(deadline) {
				t.Fatal("a process did not start")
			}
		}
	}
	ours, other := start("lowerdir=/,upperdir="+dir+"/upper0"), start("lowerdir=/,upperdir="+dir+"x/upper0")
	must(t, endServers(dir))
	if state, err := ours.Process.Wait(); err != nil || state.Success() {
		t.Errorf("ours ended with %v, %v", state, err)
	}
	if !serves(strconv.Itoa(other.Process.Pid), dir+"x") {
		t.Error("the other was ended too")
	}
}
