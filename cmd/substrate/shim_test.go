package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"substrate/internal/testenv"
)

// shimHome is a home with a directory of links to the shim, which stands first on the PATH of
// the environment that is returned too.
func shimHome(t *testing.T, names ...string) (dir string, env []string) {
	t.Helper()
	dir = home(t)
	links := filepath.Join(dir, ".substrate", "shims")
	if err := os.Mkdir(links, 0o700); err != nil {
		t.Fatal(err)
	}
	target, err := filepath.EvalSymlinks(shimmed)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := os.Symlink(target, filepath.Join(links, name)); err != nil {
			t.Fatal(err)
		}
	}
	env = cleanEnv(dir)
	for i := range env {
		if path, ok := strings.CutPrefix(env[i], "PATH="); ok {
			env[i] = "PATH=" + links + ":" + path
		}
	}
	return dir, env
}

// script puts an executable file into a directory.
func script(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestShimSpan(t *testing.T) { // SHM6, REC5
	dir, env := shimHome(t, "env", "sh")
	env = append(env, "SHIM_SESSION_ID=ses_1", "SHIM_PARENT_SPAN=spn_1", "SHIM_DEPTH=8", "SHIM_CALLER=h", "SHIM_CALL_STACK=a/b/c/d/e/f/g/h")
	got := runProgram(dir, env, "", "/bin/bash", "-c", `exec env A='b c'`)
	span := lastComplete(traceOf(t, dir))
	for path, want := range map[string]string{
		"component": "shim", "cmd": "env 'A=b c'", "argv": `["env","A=b c"]`, "resolved_path": "/usr/bin/env", "shell": "",
		"session_id": "ses_1", "parent_span": "spn_1", "depth": "8", "caller": "h", "call_stack": `["a","b","c","d","e","f","g","h"]`,
		"exit": "0", "env.PATH": strings.TrimPrefix(env[len(cleanEnv(dir))-1], "PATH="+dir+"/.substrate/shims:"), "env_hashes.SHIM_PARENT_SPAN": "",
	} {
		if got := field(span, path); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	for _, want := range []string{
		"SHIM_SESSION_ID=ses_1", "SHIM_PARENT_SPAN=" + field(span, "span_id"), "SHIM_DEPTH=9", "SHIM_CALLER=env",
		"SHIM_CALL_STACK=b/c/d/e/f/g/h/env", "SHIM_ORIGINAL_PATH=" + field(span, "env.PATH"),
	} {
		if strings.Count("\n"+got.stdout, "\n"+want+"\n") != 1 {
			t.Errorf("the program's environment lacks %s:\n%s", want, got.stdout)
		}
	}
}

func TestShimTree(t *testing.T) { // REC8
	dir, env := shimHome(t, "sh", "env", "true")
	got := runProgram(dir, env, "", "/bin/bash", "-c", `sh -c 'env true; env true & wait'`)
	if got.status != 0 || got.stderr != "" {
		t.Fatalf("%+v", got)
	}
	names, parents := map[string]string{}, map[string]int{}
	spans := spansOf(traceOf(t, dir))
	for id, s := range spans {
		names[id] = field(s.start[0], "argv")
	}
	for _, s := range spans {
		parents[names[field(s.start[0], "parent_span")]+" > "+field(s.start[0], "argv")]++
	}
	if parents[` > ["sh","-c","env true; env true \u0026 wait"]`] != 1 ||
		parents[`["sh","-c","env true; env true \u0026 wait"] > ["env","true"]`] != 2 || parents[`["env","true"] > ["true"]`] != 2 {
		t.Errorf("parents and children: %v", parents)
	}
}

// TestShimPassesOn: argv[0], odd arguments, and a program that is a script without #!.
func TestShimPassesOn(t *testing.T) { // SHM5
	dir, env := shimHome(t, "perl", "noshebang")
	script(t, filepath.Join(dir, "bin", "noshebang"), `echo "$0|$1|$2"; exit 6`)
	env = append(env, "SHIM_ORIGINAL_PATH="+filepath.Join(dir, "bin")+":/usr/bin:/bin")
	got := runProgram(dir, env, "", "/bin/bash", "-c", `noshebang 'a b' $'\n'`)
	if want := filepath.Join(dir, "bin", "noshebang") + "|a b|\n\n"; got.stdout != want || got.status != 6 {
		t.Errorf("%+v, want %q", got, want)
	}
	got = runProgram(dir, env, "", "/bin/bash", "-c", `exec -a 'own name' "$0" -e 'open F, "/proc/self/cmdline"; print <F>' $'\xff'`,
		filepath.Join(dir, ".substrate", "shims", "perl"))
	if got.status != 127 || got.stderr != "substrate-shim: own name: command not found\n" {
		t.Errorf("called by a name that is none: %+v", got)
	}
	got = runProgram(dir, env, "", filepath.Join(dir, ".substrate", "shims", "perl"), "-e", `open F, "/proc/self/cmdline"; print <F>`, "\xff", "")
	if want := "perl\x00-e\x00open F, \"/proc/self/cmdline\"; print <F>\x00\xff\x00\x00"; got.stdout != want {
		t.Errorf("argv of the program: %q, want %q", got.stdout, want)
	}
}

func TestShimWithoutProgram(t *testing.T) { // SHM5, REC3, REC4
	dir, env := shimHome(t, "no-such-program", "not-executable", "no-interpreter")
	env = append(env, "SHIM_ORIGINAL_PATH="+filepath.Join(dir, "bin"))
	script(t, filepath.Join(dir, "bin", "no-interpreter"), "#!/no/such\n")
	script(t, filepath.Join(dir, "bin", "not-executable"), "")
	if err := os.Chmod(filepath.Join(dir, "bin", "not-executable"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]result{
		"no-such-program": {"", "substrate-shim: no-such-program: command not found\n", 127},
		"not-executable":  {"", "substrate-shim: not-executable: start " + dir + "/bin/not-executable: permission denied\n", 126},
		"no-interpreter":  {"", "substrate-shim: no-interpreter: start " + dir + "/bin/no-interpreter: no such file or directory\n", 127},
	} {
		got := runProgram(dir, env, "", filepath.Join(dir, ".substrate", "shims", name), "x")
		if got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
		if exit, cmd := field(lastComplete(traceOf(t, dir)), "exit"), field(lastComplete(traceOf(t, dir)), "cmd"); exit != field(map[string]any{"x": want.status}, "x") || cmd != name+" x" {
			t.Errorf("%s: the span has cmd %q, exit %s", name, cmd, exit)
		}
	}
}

func TestShimStraightThrough(t *testing.T) { // SHM6, WLD1
	for _, variable := range []string{"SHIM_BYPASS=1", "SUBSTRATE_IN_WORLD=1"} {
		dir, env := shimHome(t, "env", "noshebang")
		script(t, filepath.Join(dir, "bin", "noshebang"), `echo "$0|$1"; exit 6`)
		env = append(env, variable, "SHIM_ORIGINAL_PATH="+filepath.Join(dir, "bin")+":/usr/bin:/bin")
		got := runProgram(dir, env, "", "/bin/bash", "-c", `trap "" PIPE; echo $$; exec env sh -c 'echo $$; env; grep SigIgn /proc/self/status'`)
		lines := strings.Split(got.stdout, "\n")
		if got.status != 0 || len(lines) < 2 || lines[0] != lines[1] {
			t.Errorf("%s: not the same process: %+v", variable, got)
		}
		_, ignored, _ := strings.Cut(got.stdout, "SigIgn:\t")
		set, err := strconv.ParseUint(strings.TrimSpace(ignored), 16, 64)
		if strings.Contains(got.stdout, "SHIM_PARENT_SPAN") || err != nil || set&(1<<(syscall.SIGPIPE-1)) == 0 {
			t.Errorf("%s: the program was given something else: %s", variable, got.stdout)
		}
		if got := runProgram(dir, env, "", filepath.Join(dir, ".substrate", "shims", "noshebang"), "x"); got.status != 6 {
			t.Errorf("%s: a script without an interpreter: %+v", variable, got)
		}
		if text := traceOf(t, dir); len(text) > 0 {
			t.Errorf("%s: recorded %s", variable, text)
		}
	}
}

// TestShimCannotRecord: the program runs, with one warning (REC9).
func TestShimCannotRecord(t *testing.T) {
	dir, env := shimHome(t, "sh")
	env = append(env, "SHIM_TRACE_LOG="+dir)
	got := runProgram(dir, env, "", filepath.Join(dir, ".substrate", "shims", "sh"), "-c", "echo out; exit 3")
	if got.stdout != "out\n" || got.status != 3 || strings.Count(got.stderr, "\n") != 1 || !strings.HasPrefix(got.stderr, "substrate-shim: warning: ") {
		t.Errorf("%+v", got)
	}
}

// TestShimJobControl stops and continues a program behind a shim from an interactive bash (SHM5).
func TestShimJobControl(t *testing.T) {
	dir, env := shimHome(t, "sh", "cat")
	term := onTerminal(t, dir, "/usr/bin/env", append([]string{"-i", "TERM=dumb", "PS1=$ ", "HISTFILE="}, append(env, "/bin/bash", "--norc", "--noprofile", "--noediting", "-i")...)...)
	term.expect(t, `\$ `)
	term.typed(t, `sh -c 'echo ready; read x; echo "got $x"; exit 7'`+"\n")
	term.expect(t, "ready\r\n")
	term.typed(t, ctrlZ)
	term.expect(t, `Stopped`)
	term.typed(t, "fg\n")
	term.expect(t, `fg\r\n`)
	term.typed(t, "hello\n")
	term.expect(t, "got hello\r\n")
	term.typed(t, "echo status=$?\n")
	term.expect(t, `status=7\r\n`)
	term.typed(t, "cat; echo en\"\"d\n")
	term.typed(t, "line\n\x04")
	term.expect(t, "line\r\nend\r\n")
	term.typed(t, "sh -c 'trap \"echo in\"\"t; exit 9\" INT; echo ready; read x'\n")
	term.expect(t, "ready\r\n")
	term.typed(t, ctrlC)
	term.expect(t, "int\r\n")
	term.typed(t, "exit 0\n")
	term.ended(t, 0)
}

// TestShimEndsAsKilled: who waits for a shim sees the signal that killed the program, also one that
// the caller ignores or blocks, and a shell says so. There is no core but the program's.
func TestShimEndsAsKilled(t *testing.T) { // SHM5, REC4
	const ignored = `trap "" HUP TERM USR1 SEGV; exec "$0" "$@"`
	const blocked = `exec perl -MPOSIX=:signal_h -e 'sigprocmask(SIG_BLOCK, POSIX::SigSet->new(1..31, 34..64)); exec @ARGV' -- "$0" "$@"`
	const kill = `exec perl -MPOSIX=:signal_h -e '$SIG{$_} = "DEFAULT" for keys %SIG; sigprocmask(SIG_UNBLOCK, POSIX::SigSet->new(1..31, 34..64)); kill shift, $$' `
	for _, by := range shims() {
		for _, sig := range []syscall.Signal{1, 2, 3, 6, 9, 10, 11, 13, 15, 25, 27, 64} {
			for _, before := range []string{`exec "$0" "$@"`, ignored, blocked} {
				dir := home(t)
				cmd := exec.Command("/bin/bash", "-c", "ulimit -Sc hard; "+before, by.path, "-c", kill+strconv.Itoa(int(sig)))
				cmd.Env, cmd.Dir = by.env(dir), dir
				out, _ := cmd.CombinedOutput()
				status := cmd.ProcessState.Sys().(syscall.WaitStatus)
				if !status.Signaled() || status.Signal() != sig || status.CoreDump() || len(out) != 0 {
					t.Errorf("%s, signal %d, %s: %v, output %q", by.name, int(sig), before, cmd.ProcessState, out)
				}
				span := lastComplete(traceOf(t, dir))
				if field(span, "exit") != strconv.Itoa(128+int(sig)) || field(span, "term_signal") != strconv.Itoa(int(sig)) {
					t.Errorf("%s, signal %d: exit %s, term_signal %s", by.name, int(sig), field(span, "exit"), field(span, "term_signal"))
				}
			}
		}
		for name, message := range map[string]string{"SEGV": "Segmentation fault ", "KILL": "Killed ", "TERM": "Terminated"} {
			dir := home(t)
			got := runProgram(dir, by.env(dir), "", "/bin/bash", "-c", `"$0" -c 'ulimit -c 0; kill -$0 $$' `+name+`; exit 4`, by.path)
			if got.status != 4 || !strings.Contains(got.stderr, message) {
				t.Errorf("%s, SIG%s: %+v, want %q", by.name, name, got, message)
			}
		}
	}
}

// TestShimIsSpared: a shim that is pid 1 cannot be killed by its own signal, so it exits.
func TestShimIsSpared(t *testing.T) { // REC4
	testenv.InRoot(t, func(t *testing.T) {
		for _, by := range shims() {
			dir := home(t)
			cmd := exec.Command(by.path, "-c", "kill -TERM $$")
			cmd.Env, cmd.Dir = by.env(dir), dir
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
			out, _ := cmd.CombinedOutput()
			if cmd.ProcessState.ExitCode() != 143 || len(out) != 0 {
				t.Errorf("%s: %v, output %q", by.name, cmd.ProcessState, out)
			}
		}
	})
}

// shims are the recorders that are shims.
func shims() []recorder {
	return slices.DeleteFunc(recorders(), func(r recorder) bool { return r.path != shimmed })
}

// TestShimInBackground: the caller is killed, the program and its span come to their end (REC3).
func TestShimInBackground(t *testing.T) {
	dir, env := shimHome(t, "sh")
	cmd := exec.Command("/bin/bash", "-c", `exec sh -c 'echo ready; exec sleep 60'`)
	cmd.Env, cmd.Dir = env, dir
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := stdout.Read(make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	_ = cmd.Wait()
	if got := lastComplete(traceOf(t, dir)); field(got, "term_signal") != "15" || field(got, "exit") != "143" {
		t.Errorf("the span is %v", got)
	}
}
