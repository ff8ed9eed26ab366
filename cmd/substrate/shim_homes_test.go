package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"substrate/internal/testenv"
)

// deploys checks that a first command in dir deploys and is recorded, and that the next one finds
// its program by a shim.
func deploys(t *testing.T, dir string, env []string) {
	t.Helper()
	substrate := filepath.Join(installed(), "substrate")
	env = append(env, "HOME="+dir)
	if got := runProgram(dir, env, "", substrate, "-c", "sh -c 'command -v node'; node one"); got != (result{filepath.Join(dir, ".substrate/shims/node") + "\nnode one\n", "", 0}) {
		t.Errorf("the first command: %+v", got)
	}
	if got := runProgram(dir, env, "", substrate, "--shim-status"); got.status != 0 || got.stderr != "" || !strings.HasSuffix(got.stdout, "\nStatus: Up to date\n") {
		t.Errorf("the status: %+v", got)
	}
	if n := len(spansOf(traceOf(t, dir))); n != 2 {
		t.Errorf("%d spans, want 2", n)
	}
}

func TestShimsInEveryHome(t *testing.T) { // SHM3
	m := newMachine(t, "node", `echo "node $1"`)
	names := []string{"plain", "with a space", "ünïcode ☃", "new\nline", "-dash", `quote'"$x`, "\xff\xfe", strings.Repeat("long", 50)}
	for _, name := range names {
		t.Run(fmt.Sprintf("%q", name), func(t *testing.T) {
			dir := filepath.Join(m.home, "homes", name)
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			deploys(t, dir, m.env)
		})
	}
	t.Run("behind a link", func(t *testing.T) {
		link := filepath.Join(m.home, "homes", "link")
		if err := os.MkdirAll(filepath.Join(m.home, "homes", "real"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("real", link); err != nil {
			t.Fatal(err)
		}
		deploys(t, link, m.env)
	})
	t.Run("store behind a link", func(t *testing.T) {
		dir := filepath.Join(m.home, "homes", "other")
		for _, d := range []string{dir, filepath.Join(m.home, "store")} {
			if err := os.MkdirAll(d, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink(filepath.Join(m.home, "store"), filepath.Join(dir, ".substrate")); err != nil {
			t.Fatal(err)
		}
		deploys(t, dir, m.env)
	})
}

// TestShimsOfRoot: the programs belong to root and the home to a user, who deploys there; root does
// not, unasked or asked.
func TestShimsOfRoot(t *testing.T) { // SHM3
	testenv.NeedRoot(t)
	m := newMachine(t, "node", `echo "node $1"`)
	if err := errors.Join(os.Chown(m.home, testenv.UID, testenv.UID), os.Chmod(filepath.Dir(m.home), 0o755)); err != nil {
		t.Fatal(err)
	}
	if got := m.run("echo $PATH"); strings.Contains(got, "shims") {
		t.Errorf("root's command in a user's home has PATH %s", got)
	}
	if _, err := os.Lstat(m.shims()); err == nil {
		t.Error("root deployed to the home of a user")
	}
	got := runProgram(m.home, m.env, "", filepath.Join(installed(), "substrate"), "--shim-deploy")
	if got.status != 125 || !strings.Contains(got.stderr, "belongs to another user") || !strings.Contains(got.stderr, "\nsubstrate: hint: ") {
		t.Errorf("root's --shim-deploy in a user's home: %+v", got)
	}
	if err := os.RemoveAll(filepath.Join(m.home, ".substrate")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(installed(), "substrate"), "-c", "node mine; ls -ld .substrate/shims/.version")
	cmd.Dir, cmd.Env = m.home, m.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: testenv.UID, Gid: testenv.UID}}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "node mine\n-rw------- 1 "+fmt.Sprint(testenv.UID)+" ") {
		t.Errorf("the user's first command: %v\n%s", err, out)
	}
}

// TestShimsWhereNothingCanBeWritten: the command runs, and nothing more is said than that it is not
// recorded.
func TestShimsWhereNothingCanBeWritten(t *testing.T) { // SHM1, SHM3, REC9
	testenv.InRoot(t, func(t *testing.T) {
		dir := testenv.TempDir(t)
		if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_RDONLY, ""); err != nil {
			t.Fatal(err)
		}
		env := append(cleanEnv(dir), "PATH="+installed()+":/usr/bin:/bin")
		substrate := filepath.Join(installed(), "substrate")
		got := runProgram("/", env, "", substrate, "-c", "echo out; exit 3")
		if got.stdout != "out\n" || got.status != 3 || strings.Count(got.stderr, "\n") != 1 || strings.Contains(got.stderr, "shim") {
			t.Errorf("a command: %+v", got)
		}
		got = runProgram("/", env, "", substrate, "--shim-status")
		if got.status != 1 || !strings.HasPrefix(got.stdout, "Shims: Not deployed\n") || !strings.Contains(got.stderr, "read-only file system") {
			t.Errorf("the status: %+v", got)
		}
		for _, flag := range []string{"--shim-deploy", "--shim-remove"} {
			if got := runProgram("/", env, "", substrate, flag); got.status != 125 || !strings.Contains(got.stderr, "read-only file system") {
				t.Errorf("%s: %+v", flag, got)
			}
		}
	})
}

// TestShimsInANoexecHome: links are no programs; what they lead to lies elsewhere.
func TestShimsInANoexecHome(t *testing.T) { // SHM3
	testenv.InRoot(t, func(t *testing.T) {
		m := newMachine(t, "node", `echo "node $1"`)
		dir := testenv.TempDir(t)
		if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOEXEC, ""); err != nil {
			t.Fatal(err)
		}
		deploys(t, dir, m.env)
	})
}

// TestFirstCommandsAtOnce: many first commands deploy once, all in silence.
func TestFirstCommandsAtOnce(t *testing.T) { // SHM1, SHM3
	m := newMachine(t, "node", "exit 0")
	var group sync.WaitGroup
	for n := range 16 {
		group.Go(func() {
			got := runProgram(m.home, m.env, "", filepath.Join(installed(), "substrate"), "-c", "node; echo done")
			if got != (result{"done\n", "", 0}) {
				t.Errorf("command %d: %+v", n, got)
			}
		})
	}
	group.Wait()
	if got := runProgram(m.home, m.env, "", filepath.Join(installed(), "substrate"), "--shim-status"); got.status != 0 {
		t.Errorf("afterwards: %+v", got)
	}
	if left, _ := filepath.Glob(filepath.Join(m.home, ".substrate", ".shims-*")); len(left) > 0 {
		t.Errorf("left over: %q", left)
	}
}

// TestKilledDeployments: whenever a deployment is killed, links lead to a program, and the next one
// puts all in order.
func TestKilledDeployments(t *testing.T) { // SHM3
	m := newMachine(t, "node", "exit 0")
	m.run("true")
	substrate := filepath.Join(installed(), "substrate")
	for n := range 24 {
		if err := os.WriteFile(filepath.Join(m.shims(), ".version"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if n%2 == 0 { // link by link
			m.file(".substrate/shims/mine", "me")
		} else if err := os.Remove(filepath.Join(m.shims(), "mine")); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(n)*time.Millisecond)
		cmd := exec.CommandContext(ctx, substrate, "--shim-deploy") // killed by SIGKILL
		cmd.Env = m.env
		_ = cmd.Run()
		cancel()
		for _, name := range []string{"git", "codex"} {
			if _, err := os.Stat(filepath.Join(m.shims(), name)); err != nil {
				t.Errorf("after a kill at %d ms: %v", n, err)
			}
		}
		if got := runProgram(m.home, m.env, "", substrate, "--shim-deploy"); got.status != 0 || got.stderr != "" {
			t.Fatalf("the deployment after that: %+v", got)
		}
		if _, err := os.Stat(filepath.Join(m.shims(), "mine")); (err == nil) != (n%2 == 0) {
			t.Errorf("the user's file: %v", err)
		}
		if left, _ := filepath.Glob(filepath.Join(m.home, ".substrate", ".shims-*")); len(left) > 0 {
			t.Errorf("left over: %q", left)
		}
	}
}

// TestUpgradeWhileShimsRun: a shim that waits ends as it would have; the next command deploys anew.
func TestUpgradeWhileShimsRun(t *testing.T) { // SHM3, SHM4
	m := newMachine(t, "node", `echo ready; read x; echo "got $x"; exit 5`)
	opt := filepath.Join(m.home, "opt")
	if err := install(opt, program, filepath.Join(installed(), "substrate-shim")); err != nil {
		t.Fatal(err)
	}
	substrate := filepath.Join(opt, "substrate")
	cmd := exec.Command(substrate, "-c", "node old; exit $?")
	cmd.Dir, cmd.Env = m.home, m.env
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 6)
	if _, err := stdout.Read(line); err != nil || string(line) != "ready\n" {
		t.Fatalf("read %q, %v", line, err)
	}
	before, err := os.Readlink(filepath.Join(m.shims(), ".stamp"))
	if err != nil {
		t.Fatal(err)
	}
	fresh := filepath.Join(m.home, "fresh")
	if err := install(fresh, program, filepath.Join(installed(), "substrate-shim")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"substrate", "substrate-shim"} { // as a package manager does
		if err := os.Rename(filepath.Join(fresh, name), filepath.Join(opt, name)); err != nil {
			t.Fatal(err)
		}
	}
	if got := runProgram(m.home, m.env, "x\n", substrate, "-c", "node new"); got != (result{"ready\ngot x\n", "", 5}) {
		t.Errorf("after the upgrade: %+v", got)
	}
	if after, err := os.Readlink(filepath.Join(m.shims(), ".stamp")); err != nil || after == before {
		t.Errorf("the stamp is still %s, %v", after, err)
	}
	if _, err := stdin.Write([]byte("y\n")); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 5 {
		t.Errorf("the command from before ended with %v", err)
	}
	m.wantTree(2, "0 node old; exit $? < none", "0 node new < none", "1 node old < node old; exit $?", "1 node new < node new")
}

// TestRemovedPrograms: the path from the time of the deployment, then "not found".
func TestRemovedPrograms(t *testing.T) { // SHM5
	m := newMachine(t, "codex", `echo "codex $1"`)
	m.run("true")
	env := append(m.env, "PATH="+m.shims()+":/usr/bin:/bin")
	env = env[: len(env)-1 : len(env)-1]
	env = append(withoutPath(env), "PATH="+m.shims()+":/usr/bin:/bin")
	if got := runProgram(m.home, env, "", "/bin/sh", "-c", "codex x"); got != (result{"codex x\n", "", 0}) {
		t.Errorf("with another PATH: %+v", got)
	}
	if err := os.Remove(filepath.Join(m.home, "bin", "codex")); err != nil {
		t.Fatal(err)
	}
	if got := runProgram(m.home, env, "", "/bin/sh", "-c", "codex x"); got != (result{"", "substrate-shim: codex: command not found\n", 127}) {
		t.Errorf("removed: %+v", got)
	}
}

// withoutPath is env without PATH.
func withoutPath(env []string) (out []string) {
	for _, entry := range env {
		if !strings.HasPrefix(entry, "PATH=") {
			out = append(out, entry)
		}
	}
	return out
}

// TestTwoShimDirectories: the shims of two homes, of two installations, first on one PATH, in both
// orders and by way of either.
func TestTwoShimDirectories(t *testing.T) { // SHM5: no recursion
	a, b := newMachine(t, "node", `echo "node $1"`), newMachine(t)
	opt := filepath.Join(b.home, "opt")
	if err := install(opt, program, filepath.Join(installed(), "substrate-shim")); err != nil {
		t.Fatal(err)
	}
	a.run("true")
	if got := runProgram(b.home, b.env, "", filepath.Join(opt, "substrate"), "--shim-deploy"); got.status != 0 {
		t.Fatalf("%+v", got)
	}
	rest := ":" + filepath.Join(a.home, "bin") + ":/usr/bin:/bin"
	for _, path := range []string{a.shims() + ":" + b.shims() + rest, b.shims() + ":" + a.shims() + rest} {
		for _, m := range []*machine{a, b} {
			env := append(withoutPath(m.env), "PATH="+path)
			before := len(spansOf(traceOf(t, a.home)))
			if got := runProgram(m.home, env, "", "/bin/sh", "-c", "node x"); got != (result{"node x\n", "", 0}) {
				t.Errorf("PATH=%s: %+v", path, got)
			}
			if m == a {
				if n := len(spansOf(traceOf(t, a.home))) - before; n != 1 {
					t.Errorf("%d spans for one program", n)
				}
			}
			for _, substrate := range []string{installed(), opt} {
				if got := runProgram(m.home, env, "", filepath.Join(substrate, "substrate"), "-c", "node y"); got != (result{"node y\n", "", 0}) {
					t.Errorf("substrate -c, PATH=%s: %+v", path, got)
				}
			}
		}
	}
}

// TestTwoInstallations: two versions share a home. The newer one deploys, and stays until it is
// removed.
func TestTwoInstallations(t *testing.T) { // SHM3, SHM4
	dir, bin := home(t), t.TempDir()
	for _, v := range []string{"0.0.1", "99.0.0"} {
		build := exec.Command("go", "build", "-o", filepath.Join(bin, v)+"/", "-ldflags", "-E substrate_entry -X substrate/internal/version.Version="+v, ".", "../substrate-shim")
		build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("go build: %v\n%s", err, out)
		}
	}
	links := filepath.Join(dir, ".substrate", "shims")
	run := func(version string, args ...string) result {
		return runProgram("/", cleanEnv(dir), "", filepath.Join(bin, version, "substrate"), args...)
	}
	command := func(version string, variables ...string) {
		t.Helper()
		got := runProgram("/", append(cleanEnv(dir), variables...), "", filepath.Join(bin, version, "substrate"), "-c", "echo $PATH")
		if !strings.HasPrefix(got.stdout, links+":") || got.stderr != "" || got.status != 0 {
			t.Errorf("a command of %s: %+v", version, got)
		}
	}
	deployed := func() (version string, at time.Time, text string) {
		t.Helper()
		text, err := os.Readlink(filepath.Join(links, ".stamp"))
		st, statErr := os.Stat(filepath.Join(links, ".version"))
		if err := errors.Join(err, statErr); err != nil {
			t.Fatal(err)
		}
		version, _, _ = strings.Cut(text, ":")
		return version, st.ModTime(), text
	}
	status := func(version, last string) {
		t.Helper()
		if got := run(version, "--shim-status"); got.status != 0 || got.stderr != "" || !strings.HasSuffix(got.stdout, "\nStatus: "+last+"\n") {
			t.Errorf("--shim-status of %s: %+v", version, got)
		}
	}
	command("0.0.1")
	if version, _, _ := deployed(); version != "0.0.1" {
		t.Errorf("version %s deployed", version)
	}
	command("99.0.0")
	version, at, text := deployed()
	if version != "99.0.0" {
		t.Errorf("version %s stayed although there is a newer one", version)
	}
	for range 10 {
		command("0.0.1")
		command("0.0.1", "SUBSTRATE_EARLY=0")
		command("99.0.0")
	}
	if _, again, now := deployed(); !again.Equal(at) || now != text {
		t.Error("the shims were deployed again while two versions took turns")
	}
	status("99.0.0", "Up to date")
	status("0.0.1", "Deployed by version 99.0.0 (current: 0.0.1)")
	if err := os.RemoveAll(filepath.Join(bin, "99.0.0")); err != nil {
		t.Fatal(err)
	}
	command("0.0.1")
	if version, _, _ := deployed(); version != "0.0.1" {
		t.Errorf("version %s deployed after the newer one was removed", version)
	}
	status("0.0.1", "Up to date")
}
