package world

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"substrate/internal/testenv"
	"substrate/internal/world/cgroup"
)

// WLD4, CGR2: worlds work where clone3(2) does not exist, as in a container with an older seccomp
// profile, also several at once, and root's are in their cgroups.
func TestWithoutClone3(t *testing.T) {
	bothOn(t, testenv.Host{WithoutClone3: true}, func(t *testing.T) {
		base := testenv.TempDir(t)
		failed := make(chan error, 4)
		for range cap(failed) {
			go func() { failed <- oldWorld(testSpec(t, base)) }()
		}
		for range cap(failed) {
			if err := <-failed; err != nil {
				t.Error(err)
			}
		}
	})
}

// bothOn is asRootAndUser on a host that lacks something.
func bothOn(t *testing.T, h testenv.Host, body func(t *testing.T)) {
	t.Helper()
	t.Run("root", func(t *testing.T) { testenv.In(t, h, body) })
	h.User = true
	t.Run("user", func(t *testing.T) { testenv.NeedUserns(t); testenv.In(t, h, body) })
}

// oldWorld runs a command that looks for its cgroup and leaves a process behind.
func oldWorld(spec Spec) error {
	w, err := New(spec)
	if err != nil {
		return err
	}
	cmd := sh("sleep 1000 & test -z \"$GROUP\" || grep -q /substrate/ /proc/self/cgroup || exit 4; exit 3")
	if _, err := cgroup.Parent(spec.Root); err == nil && spec.Root {
		cmd.Env = append(slices.Clone(os.Environ()), "GROUP=1")
	}
	cmd.Dir, cmd.Timeout = spec.Cwd, 30*time.Second
	res, err := w.Run(cmd)
	if err == nil && (res.Exit != 3 || res.Strategy != "overlay") {
		err = errors.New("not status 3 in an overlay: " + res.Strategy)
	}
	return errors.Join(err, w.Close())
}

// WLD4, RPL4: the command gets descriptors 0, 1 and 2 and nothing else, also where close_range(2)
// is refused. From an inherited directory it could reach the host.
func TestInheritedDescriptor(t *testing.T) {
	bothOn(t, testenv.Host{WithoutCloseRange: true}, func(t *testing.T) {
		a := newArena(t)
		fd, err := unix.Open(a.dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		must(t, err)
		defer unix.Close(fd)
		if out, res := a.run(sh("cd /proc/self/fd && echo *")); out != "0 1 2 3\n" || res.Exit != 0 { // 3 is what the shell lists
			t.Errorf("open in the command: %q, status %d", out, res.Exit)
		}
	})
}

// WLD4: if the command process is killed before it becomes the command, Run returns an error.
func TestCommandProcessKilled(t *testing.T) {
	asRootAndUser(t, func(t *testing.T) {
		a := newArena(t)
		w, err := New(a.spec)
		must(t, err)
		text, pid := []byte(nil), w.signals.proc.PID()
		for len(text) == 0 {
			text, err = os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
			must(t, err)
		}
		second, err := strconv.Atoi(strings.TrimSpace(string(text)))
		must(t, errors.Join(err, unix.Kill(second, unix.SIGKILL)))
		if res, err := w.Run(sh("true")); !errors.Is(err, errKilled) {
			t.Errorf("Run = %+v, %v; want an error", res, err)
		}
		must(t, w.Close())
	})
}

// RPL10: no process of a world is in the caller's process group. Else a terminal would signal both
// the init process and the supervisor, which passes signals on, and the command would get each
// twice.
func TestOwnProcessGroup(t *testing.T) {
	asRootAndUser(t, func(t *testing.T) {
		a := newArena(t)
		ours, err := unix.Getpgid(0)
		must(t, err)
		a.run(sh("echo ready; sleep 0.3"), func(w *World) {
			theirs, err := unix.Getpgid(w.signals.proc.PID())
			if err != nil || theirs == ours {
				t.Errorf("the init process is in group %d, %v; ours is %d", theirs, err, ours)
			}
		})
	})
}
