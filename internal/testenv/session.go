package testenv

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// sessionBus names the environment variable that hands the bus to the body of InSession.
const sessionBus = "SUBSTRATE_TEST_BUS"

// sessionPatience limits how long systemd may take to start and to end.
const sessionPatience = time.Minute

// InSession runs body as the ordinary user of [UID] in a login session as systemd makes it. A real
// systemd --user listens at the D-Bus address bus and owns a cgroup. The group of the session
// itself belongs to root, so the user cannot make groups in it. InSession needs root, and the
// programs systemd and dbus-daemon.
func InSession(t *testing.T, body func(t *testing.T, bus string)) {
	t.Helper()
	if !isChild(t) {
		NeedProgram(t, "systemd")
		NeedProgram(t, "dbus-daemon")
	}
	if strings.HasPrefix(os.Getenv(marker), "2 ") && isChild(t) {
		body(t, os.Getenv(sessionBus))
		return
	}
	InRoot(t, func(t *testing.T) {
		run := t.TempDir()
		passable(t, run)
		account(t, run)
		group := sessionGroups(t)
		startSystemd(t, group, run)
		session := openDir(t, group+"/manager/session")
		if err := os.Setenv(sessionBus, "unix:path="+run+"/bus"); err != nil {
			t.Fatal(err)
		}
		second(t, &syscall.SysProcAttr{
			UseCgroupFD: true, CgroupFD: int(session.Fd()), Credential: &syscall.Credential{Uid: UID, Gid: UID},
		}, nil)
	})
}

// sessionGroups makes the cgroups of a session, mounts the hierarchy where systemd looks for it,
// and returns the top group.
func sessionGroups(t *testing.T) string {
	t.Helper()
	if err := unix.Mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, ""); err != nil {
		Skip(t, "needs cgroup v2: "+err.Error())
	}
	top := "/sys/fs/cgroup/substrate-session-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	for _, dir := range []string{top, top + "/manager", top + "/manager/session"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { endGroup(t, top) })
	// As with Delegate=yes.
	for _, path := range []string{top + "/manager", top + "/manager/cgroup.procs", top + "/manager/cgroup.subtree_control"} {
		if err := os.Chown(path, UID, UID); err != nil {
			t.Fatal(err)
		}
	}
	return top
}

// endGroup kills what is in a cgroup and removes it and those below.
func endGroup(t *testing.T, top string) {
	t.Helper()
	if err := os.WriteFile(top+"/cgroup.kill", []byte("1"), 0); err != nil {
		t.Error(err)
	}
	waitUntil(t, "the end of the session's cgroup", func() bool {
		var dirs []string
		_ = filepath.WalkDir(top, func(path string, e os.DirEntry, err error) error {
			if err == nil && e.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for i := len(dirs) - 1; i >= 0; i-- {
			_ = unix.Rmdir(dirs[i])
		}
		_, err := os.Stat(top)
		return os.IsNotExist(err)
	})
}

// startSystemd starts the user's systemd with its run-time directory run.
func startSystemd(t *testing.T, group, run string) {
	t.Helper()
	// systemd --user checks that a system manager was there.
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll("/run/systemd/system", 0o755); err != nil {
		t.Fatal(err)
	}
	manager := openDir(t, group+"/manager")
	cmd := exec.Command("systemd", "--user", "--unit=basic.target")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		UseCgroupFD: true, CgroupFD: int(manager.Fd()), Pdeathsig: syscall.SIGKILL, Credential: &syscall.Credential{Uid: UID, Gid: UID},
	}
	cmd.Env = []string{"XDG_RUNTIME_DIR=" + run, "HOME=" + run, "PATH=" + os.Getenv("PATH"), "SYSTEMD_LOG_TARGET=console"}
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("systemd --user says:\n%s", log.String())
		}
	})
	waitUntil(t, "the bus of systemd --user", func() bool {
		_, err := os.Stat(run + "/bus")
		return err == nil
	})
	// The first connection starts dbus-daemon. It must run before a test looks for leaks.
	if conn, err := net.Dial("unix", run+"/bus"); err != nil {
		t.Fatal(err)
	} else {
		t.Cleanup(func() { _ = conn.Close() })
	}
	waitUntil(t, "dbus-daemon", func() bool {
		procs, _ := os.ReadFile(group + "/manager/session.slice/dbus.service/cgroup.procs")
		return len(procs) > 0
	})
}

// waitUntil calls done until it returns true.
func waitUntil(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(sessionPatience); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s for %s", sessionPatience, what)
		}
	}
}

func openDir(t *testing.T, dir string) *os.File {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// account gives the ordinary user an entry in this mount namespace's /etc/passwd; dbus-daemon needs
// one.
func account(t *testing.T, home string) {
	t.Helper()
	passwd, err := os.ReadFile("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	id := strconv.Itoa(UID)
	file := filepath.Join(t.TempDir(), "passwd")
	passwd = append(passwd, "substrate-test:x:"+id+":"+id+"::"+home+":/bin/sh\n"...)
	if err := os.WriteFile(file, passwd, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(file, "/etc/passwd", "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
}

// passable gives dir, a directory of the test, to the ordinary user and opens those above it.
func passable(t *testing.T, dir string) {
	t.Helper()
	if err := os.Chown(dir, UID, UID); err != nil {
		t.Fatal(err)
	}
	for dir = filepath.Dir(dir); strings.HasPrefix(dir, os.TempDir()+"/"); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}
