package landlock_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"substrate/internal/probe"
	"substrate/internal/testenv"
	"substrate/internal/world/landlock"
)

// confined runs a script that may write only to the given directory.
func confined(t *testing.T, dir, script string, args ...string) string {
	t.Helper()
	type answer struct {
		out []byte
		err error
	}
	done := make(chan answer)
	go func() {
		runtime.LockOSThread() // never unlocked
		rules := landlock.Rules{Trees: []string{dir}, Files: []string{"/dev/null", "/dev/not-there"}}
		if err := rules.Restrict(); err != nil {
			done <- answer{nil, err}
			return
		}
		cmd := exec.Command("/bin/bash", append([]string{"-c", script, "bash"}, args...)...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		done <- answer{out, err}
	}()
	a := <-done
	if a.err != nil {
		t.Fatalf("%v\n%s", a.err, a.out)
	}
	return string(a.out)
}

// DIF7: the command may write everything inside and nothing outside; open files stay open.
func TestRestrict(t *testing.T) {
	version, err := landlock.Version()
	if err != nil {
		testenv.Skip(t, err.Error())
	}
	base := t.TempDir()
	inside, outside := filepath.Join(base, "in"), filepath.Join(base, "out")
	for _, dir := range []string{inside, outside + "/d"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{inside + "/f", outside + "/f"} {
		if err := os.WriteFile(path, []byte("text\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out := confined(t, inside, `echo more >>f; mkdir -p d/e; mv f d/; ln -s x l; mkfifo p; : >d/f; rm -r d p l; echo fine >/dev/null
		cat "$1/f"; ls "$1" >/dev/null
		for try in 'echo x >>"$1/f"' 'echo x >"$1/new"' 'rm "$1/f"' 'mkdir "$1/n"' 'rmdir "$1/d"' 'ln -s x "$1/l"' 'mkfifo "$1/p"' 'mv "$1/f" .' 'ln "$1/f" g' 'truncate -s 0 "$1/f"' 'mknod b b 7 0' 'mknod c c 1 5'; do
			(eval "$try") 2>/dev/null && echo "possible: $try"
		done; ls -A; true`, outside)
	if out != "text\n" {
		t.Errorf("printed %q, want only what can be read (version %d)", out, version)
	}
	if left, _ := os.ReadDir(outside); len(left) != 2 {
		t.Errorf("outside there are %v", left)
	}
	if err := os.WriteFile(outside+"/mine", nil, 0o644); err != nil {
		t.Errorf("the thread's restrictions reached others: %v", err)
	}
}

// DIF7: the command can signal itself, but nobody outside.
func TestScope(t *testing.T) {
	if version, err := landlock.Version(); err != nil || version < 6 {
		t.Logf("version %d, %v: signals cannot be held back", version, err)
		return
	}
	out := confined(t, t.TempDir(), `kill -0 $$ && echo self; sleep 100 & kill $! && echo child; kill -0 $PPID 2>/dev/null || echo not outside`)
	if want := "self\nchild\nnot outside\n"; out != want {
		t.Errorf("printed %q, want %q", out, want)
	}
}

// DIF7: without Landlock the error names a remedy.
func TestVersionWithoutLandlock(t *testing.T) {
	testenv.In(t, testenv.Host{User: true, WithoutLandlock: true}, func(t *testing.T) {
		_, err := landlock.Version()
		var known *probe.Error
		if !errors.As(err, &known) || !errors.Is(err, unix.ENOSYS) || !strings.Contains(known.Remedy, "lsm=") {
			t.Errorf("Version = %v, want ENOSYS with a remedy", err)
		}
		if err := (&landlock.Rules{}).Restrict(); err == nil {
			t.Error("Restrict did something")
		}
	})
}

// Gaps lists what old versions do not restrict.
func TestGaps(t *testing.T) {
	for version, want := range map[int]int{1: 3, 2: 2, 3: 1, 6: 0, 7: 0} {
		if got := landlock.Gaps(version); len(got) != want {
			t.Errorf("Gaps(%d) = %q, want %d", version, got, want)
		}
	}
}
