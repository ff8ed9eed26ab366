package world

import (
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"substrate/internal/testenv"
	"substrate/internal/world/cgroup"
)

// WLD4, CGR2: where clone3(2) does not exist, as in a container with an older seccomp profile, a world is made all the same,
// also several at once, and root's is in its cgroup.
func TestWithoutClone3(t *testing.T) {
	for _, user := range []bool{false, true} {
		name := map[bool]string{false: "root", true: "user"}[user]
		t.Run(name, func(t *testing.T) {
			if user {
				testenv.NeedUserns(t)
			}
			testenv.In(t, testenv.Host{User: user, WithoutClone3: true}, func(t *testing.T) {
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
		})
	}
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

// RPL10, WLD4: no process of a world is in the caller's session. A terminal would send its signals to the first process as well as to the
// supervisor, who passes them on too, so that the command got each twice; and root's command could set the priority of the whole session
// through /proc/1/autogroup.
func TestOwnSession(t *testing.T) {
	asRootAndUser(t, func(t *testing.T) {
		a := newArena(t)
		ours, err := unix.Getsid(0)
		must(t, err)
		a.run(sh("echo ready; sleep 0.3"), func(w *World) {
			theirs, err := unix.Getsid(w.proc.PID())
			if err != nil || theirs == ours {
				t.Errorf("the first process is in session %d, %v; ours is %d", theirs, err, ours)
			}
		})
	})
}
