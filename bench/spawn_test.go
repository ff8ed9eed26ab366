package bench

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// userID is the uid and gid of the ordinary user. It needs no account.
const userID = 12345

// account starts programs as one user, in a home of their own.
type account struct {
	name string
	bin  string // directory of the programs
	home string
	cred *syscall.Credential // nil to stay who we are
}

// newAccount makes a home. The name "user" is a user without privilege: the caller, if that is one.
func newAccount(b *testing.B, name, bin string) *account {
	b.Helper()
	a := &account{name: name, bin: bin, home: workDir(b)}
	if name == "user" && os.Geteuid() == 0 {
		a.cred = &syscall.Credential{Uid: userID, Gid: userID}
		if err := os.Chown(a.home, userID, userID); err != nil {
			b.Fatal(err)
		}
	}
	return a
}

func (a *account) env() []string {
	return []string{"HOME=" + a.home, "PATH=" + a.bin + ":/usr/bin:/bin:/usr/sbin:/sbin", "SHELL=/bin/bash", "LANG=C.UTF-8"}
}

// command returns a function that runs a program once, in dir, as cheaply as Go can: our own cost
// is the same for all variants and would bring the ratios closer to one.
func (a *account) command(dir, program string, args ...string) func() error {
	path, err := lookPath(a.bin, program)
	if err != nil {
		return func() error { return err }
	}
	argv := append([]string{program}, args...)
	env := a.env()
	return func() error {
		null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer null.Close()
		fd := null.Fd()
		pid, err := syscall.ForkExec(path, argv, &syscall.ProcAttr{
			Dir: dir, Env: env, Files: []uintptr{fd, fd, fd},
			Sys: &syscall.SysProcAttr{Credential: a.cred},
		})
		if err != nil {
			return fmt.Errorf("start %s: %w", path, err)
		}
		var status syscall.WaitStatus
		for {
			if _, err = syscall.Wait4(pid, &status, 0, nil); !errors.Is(err, syscall.EINTR) {
				break
			}
		}
		if err != nil || status != 0 {
			return a.explain(path, argv, dir, int(status))
		}
		return nil
	}
}

// explain runs a command that failed once more, for its messages.
func (a *account) explain(path string, argv []string, dir string, status int) error {
	cmd := exec.Command(path)
	cmd.Args, cmd.Dir, cmd.Env = argv, dir, a.env()
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: a.cred}
	out, err := cmd.CombinedOutput()
	return fmt.Errorf("%q ended with wait status %#x; once more: %v\n%s", argv, status, err, out)
}

func lookPath(bin, program string) (string, error) {
	if path := filepath.Join(bin, program); fileExists(path) {
		return path, nil
	}
	return exec.LookPath(program)
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// build writes the programs below dir as `make build` does, and returns their directory.
func build(b *testing.B, dir string) string {
	b.Helper()
	bin := filepath.Join(dir, "bin")
	out, err := exec.Command("make", "-s", "-C", "..", "build", "BIN="+bin).CombinedOutput()
	if err != nil {
		b.Fatalf("make build: %v\n%s", err, out)
	}
	return bin
}

// tree makes a directory with n files in it, a thousand to a directory.
func tree(b *testing.B, dir string, n int) string {
	b.Helper()
	sub := dir
	for i := range n {
		if i%1000 == 0 {
			sub = filepath.Join(dir, strconv.Itoa(i/1000))
			if err := os.MkdirAll(sub, 0o755); err != nil {
				b.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(sub, strconv.Itoa(i)), nil, 0o644); err != nil {
			b.Fatal(err)
		}
	}
	return dir
}
