package world

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"substrate/internal/testenv"
	"substrate/internal/world/cgroup"
)

// WLD5: where clone3 is refused the processes of a world are made by clone(2), and wait until they
// are in their cgroup.
func TestViewWithoutClone3(t *testing.T) {
	run := func(t *testing.T) {
		if _, _, errno := unix.RawSyscall(unix.SYS_CLONE3, 0, 0, 0); errno != unix.ENOSYS {
			t.Fatalf("clone3: %v, want it refused", errno)
		}
		a := newArena(t)
		_, res := a.sh(`echo x >made; cat /proc/self/cgroup >groups; bash -c "exec 3<>/dev/tcp/10.1.2.3/80" 2>/dev/null; exit 7`)
		if res.Exit != 7 || len(res.Blocked) != 1 || res.Diff == nil || res.Diff.Counts.Create != 2 {
			t.Errorf("status %d, attempts %v, diff %+v; want 7, one, two files", res.Exit, res.Blocked, res.Diff)
		}
		if _, err := cgroup.Parent(os.Geteuid() == 0); err == nil && res.Usage.GroupCPU == 0 {
			t.Errorf("the cgroup counted nothing: %+v", res.Degraded)
		}
		for _, d := range res.Degraded {
			if strings.Contains(d.Message, "clone3") {
				t.Errorf("degraded: %+v", d)
			}
		}
	}
	t.Run("root", func(t *testing.T) { testenv.In(t, testenv.Host{WithoutClone3: true}, run) })
	t.Run("user", func(t *testing.T) {
		testenv.NeedUserns(t)
		testenv.In(t, testenv.Host{User: true, WithoutClone3: true}, run)
	})
}
