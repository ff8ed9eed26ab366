package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"substrate/internal/testenv"
)

// own asks for a field of /proc/PID/status of the recorder that a command runs below.
const own = `while read -r k v _; do [ "$k" = %s: ] && echo "$v"; done </proc/$PPID/status`

// TestPrestartIsTaken: before the Go runtime starts a process has one thread, afterwards several.
func TestPrestartIsTaken(t *testing.T) { // SHM8, REC1
	for _, by := range recorders() {
		dir := home(t)
		got := runProgram(dir, by.env(dir), "", by.path, "-c", fmt.Sprintf(own, "Threads"))
		if prestart := got.stdout == "1\n"; prestart != (by.variable == "X=1") {
			t.Errorf("%s: %+v", by.name, got)
		}
	}
}

// TestPrestartMemory: what a shim holds while it waits.
func TestPrestartMemory(t *testing.T) { // SHM8
	dir := home(t)
	got := runProgram(dir, cleanEnv(dir), "", shimmed, "-c", fmt.Sprintf(own, "VmRSS"))
	if kb, err := strconv.Atoi(strings.TrimSpace(got.stdout)); err != nil || kb >= 512 {
		t.Errorf("a waiting shim holds %q KiB, want less than 512", got.stdout)
	}
}

// same is a complete line without what differs from run to run.
func same(line map[string]any) map[string]any {
	for _, name := range []string{"ts", "span_id", "session_id", "pid", "duration_ms", "user_ms", "sys_ms", "max_rss_kb"} {
		delete(line, name)
	}
	hashes, _ := line["env_hashes"].(map[string]any)
	delete(hashes, "X")
	delete(hashes, "SUBSTRATE_EARLY")
	return line
}

// TestRoutesWriteTheSame runs commands by both routes and compares lines, output and status.
func TestRoutesWriteTheSame(t *testing.T) { // REC1, REC3, SHM6
	commands := [][]string{
		{"true"},
		{"exit 7"},
		{"kill -9 $$"},
		{"echo out; echo err >&2; no-such-program"},
		{`echo "é 🙂" 'it'"'"'s' \\ $'\t'`, "name", "a b", ""},
		{"env | grep -v -e SUBSTRATE_EARLY -e ^X= -e SPAN= -e SESSION_ID= | sort"},
		{"not UTF-8 \xff"},
		{": " + strings.Repeat("x", 100_000)},
		{""},
		{"cat; read x; echo $x"},
		{"echo curl -u me:secret"},
	}
	by := recorders()
	for i := 0; i < len(by); i += 2 {
		for _, command := range commands {
			dir := home(t)
			run := func(by recorder) (result, map[string]any) {
				got := runProgram("/", by.env(dir), "line\n", by.path, append([]string{"-c"}, command...)...)
				lines := recordsOf(traceOf(t, dir))
				if len(lines) < 2 || field(lines[len(lines)-2], "cmd") != field(lines[len(lines)-1], "cmd") {
					t.Fatalf("%s, %.80q: the trace holds %v", by.name, command, lines)
				}
				return got, same(lines[len(lines)-1])
			}
			prestart, prestartLine := run(by[i])
			ordinary, ordinaryLine := run(by[i+1])
			if prestart != ordinary {
				t.Errorf("%s, %.80q: %+v, by the ordinary route %+v", by[i].name, command, prestart, ordinary)
			}
			if diff := cmp.Diff(ordinaryLine, prestartLine); diff != "" {
				t.Errorf("%s, %.80q: (-ordinary +prestart)\n%s", by[i].name, command, diff)
			}
		}
	}
}

// TestRoutesRefuseTheSame: a shell, or a program, that cannot be started.
func TestRoutesRefuseTheSame(t *testing.T) { // REC3, REC4
	dir := home(t)
	bin := filepath.Join(dir, "bin")
	script(t, filepath.Join(bin, "no-interpreter"), "#!/no/such\n")
	script(t, filepath.Join(bin, "bash"), "#!/no/such\n") // the same behind the shim
	script(t, filepath.Join(bin, "plain"), "")
	if err := os.Chmod(filepath.Join(bin, "plain"), 0o644); err != nil {
		t.Fatal(err)
	}
	busy, err := os.OpenFile(filepath.Join(bin, "busy"), os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close() //nolint:errcheck // a file of the test
	if _, err := busy.WriteString("\x7fELF"); err != nil {
		t.Fatal(err)
	}
	by := recorders()
	for i := 0; i < len(by); i += 2 {
		for _, shell := range []string{"/no/such", "/etc", "/etc/passwd", filepath.Join(bin, "no-interpreter"), filepath.Join(bin, "plain"), filepath.Join(bin, "busy")} {
			run := func(by recorder) result {
				return runProgram(dir, append(by.env(dir), "SHELL="+shell, "SHIM_ORIGINAL_PATH="+bin), "", by.path, "-c", "x")
			}
			prestart, ordinary := run(by[i]), run(by[i+1])
			if prestart != ordinary || prestart.status < 126 {
				t.Errorf("%s, %s: %+v, by the ordinary route %+v", by[i].name, shell, prestart, ordinary)
			}
			lines := recordsOf(traceOf(t, dir))
			if got := field(lines[len(lines)-3], "exit"); got != fmt.Sprint(prestart.status) {
				t.Errorf("%s, %s: exit %s in the trace, want %d", by[i].name, shell, got, prestart.status)
			}
		}
	}
}

// TestDiskFillsUpMeanwhile: the start line is written, the complete line is not, and there is one
// warning (REC9).
func TestDiskFillsUpMeanwhile(t *testing.T) {
	testenv.InRoot(t, func(t *testing.T) {
		for i, by := range append(recorders(), recorders()...) {
			used := 3000 // there is room for the start line
			if i >= len(recorders()) {
				used = 4000
			}
			dir := t.TempDir()
			if err := syscall.Mount("none", dir, "tmpfs", 0, "size=4k"); err != nil {
				t.Fatal(err)
			}
			emptyTrace(t, dir)
			if err := os.WriteFile(filepath.Join(dir, ".substrate", "trace.jsonl"), []byte(strings.Repeat("\n", used)), 0o600); err != nil {
				t.Fatal(err)
			}
			got := runProgram("/", by.env(dir), "", by.path, "-c", "echo out; exit 9")
			if err := syscall.Unmount(dir, 0); err != nil {
				t.Error(err)
			}
			form := regexp.MustCompile(`^substrate(-shim)?: warning: this command is not recorded: append to trace: wrote \d+ of \d+ bytes: [^\n]*(no space left on device|short write)[^\n]*\n$`)
			if got.stdout != "out\n" || got.status != 9 || !form.MatchString(got.stderr) {
				t.Errorf("%s, %d bytes used: %+v", by.name, used, got)
			}
		}
	})
}

// TestRoutesRotateTogether: commands of both routes run side by side while the trace becomes full
// again and again; no line is lost.
func TestRoutesRotateTogether(t *testing.T) { // TRC2, TRC3
	dir := t.TempDir()
	emptyTrace(t, dir)
	command := ": " + strings.Repeat("x", 100_000) // ten lines fill the file
	var wait sync.WaitGroup
	for _, by := range recorders() {
		for range 2 {
			wait.Go(func() {
				for range 10 {
					env := append(by.env(dir), "TRACE_LOG_MAX_MB=1", "TRACE_LOG_KEEP=99")
					if got := runProgram("/", env, "", by.path, "-c", command); got != (result{}) {
						t.Errorf("%s: %+v", by.name, got)
					}
				}
			})
		}
	}
	wait.Wait()
	files, err := filepath.Glob(filepath.Join(dir, ".substrate", "trace.jsonl*"))
	if err != nil || len(files) < 5 {
		t.Errorf("the trace is in %q, %v, want several files", files, err)
	}
	var all []byte
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, text...)
	}
	for _, problem := range checkTrace("all files", all) {
		t.Error(problem)
	}
	if n := len(spansOf(all)); n != 80 {
		t.Errorf("%d spans, want 80", n)
	}
}

// TestPrestartKnowsTheShims deploys, and then finds the same PATH by both routes (SHM3, SHM7).
func TestPrestartKnowsTheShims(t *testing.T) {
	dir, bin := home(t), t.TempDir()
	shim, err := filepath.EvalSymlinks(shimmed)
	if err != nil {
		t.Fatal(err)
	}
	for name, from := range map[string]string{"substrate": program, "substrate-shim": shim} {
		if out, err := exec.Command("cp", from, filepath.Join(bin, name)).CombinedOutput(); err != nil {
			t.Fatalf("cp: %v\n%s", err, out)
		}
	}
	run := func(variables ...string) string {
		got := runProgram("/", append(cleanEnv(dir), variables...), "", filepath.Join(bin, "substrate"), "-c", fmt.Sprintf(own, "Threads")+`; echo "$PATH|$SHIM_ORIGINAL_PATH"`)
		if got.status != 0 || got.stderr != "" {
			t.Errorf("%+v", got)
		}
		return got.stdout
	}
	first, _, _ := strings.Cut(run(), "\n") // deploys
	links := filepath.Join(dir, ".substrate", "shims")
	path := strings.TrimPrefix(cleanEnv(dir)[len(cleanEnv(dir))-1], "PATH=")
	want := "1\n" + links + ":" + path + "|" + path + "\n"
	if got := run(); first == "1" || got != want {
		t.Errorf("first %s threads, then %s, want %s", first, got, want)
	}
	if got := run("SHIM_ORIGINAL_PATH=/old", "PATH="+path+":"+links); got != want {
		t.Errorf("with the shims last on PATH: %s, want %s", got, want)
	}
	if _, got, _ := strings.Cut(run("SUBSTRATE_EARLY=0"), "\n"); "1\n"+got != want {
		t.Errorf("by the ordinary route %s, want %s", got, want)
	}
	if got := run("SUBSTRATE_NO_SHIMS=1"); got != "1\n"+path+"|\n" {
		t.Errorf("with SUBSTRATE_NO_SHIMS=1: %s", got)
	}
	if out, err := exec.Command("touch", filepath.Join(bin, "substrate-shim")).CombinedOutput(); err != nil {
		t.Fatalf("touch: %v\n%s", err, out)
	}
	if got, _, _ := strings.Cut(run(), "\n"); got == "1" {
		t.Error("another substrate-shim was not noticed")
	}
	if got := run(); got != want {
		t.Errorf("after it was deployed again: %s, want %s", got, want)
	}
	if got := runProgram("/", cleanEnv(dir), "", filepath.Join(bin, "substrate"), "--shim-remove"); got.status != 0 {
		t.Errorf("--shim-remove: %+v", got)
	}
	if got := run(); got != "1\n"+path+"|\n" {
		t.Errorf("after --shim-remove: %s", got)
	}
}

// TestPrestartInAWorld: inside a world nothing is recorded, and the shell takes our place (WLD1).
func TestPrestartInAWorld(t *testing.T) {
	for _, by := range recorders() {
		dir := home(t)
		got := runProgram(dir, append(by.env(dir), "SUBSTRATE_IN_WORLD=1"), "", "/bin/bash", "-c", `echo $$; exec "$0" -c 'echo $$; exit 6'`, by.path)
		before, after, _ := strings.Cut(got.stdout, "\n")
		if before+"\n" != after || got.status != 6 || len(traceOf(t, dir)) > 0 {
			t.Errorf("%s: %+v, trace %s", by.name, got, traceOf(t, dir))
		}
	}
}

// TestPrestartUnderFaults has system calls fail, each once, on the way through a command: the
// command keeps its status, and at most one line is written about it.
func TestPrestartUnderFaults(t *testing.T) { // REC3, REC9
	if _, err := exec.LookPath("strace"); err != nil {
		testenv.Skip(t, "no strace on PATH")
	}
	for _, test := range []struct {
		fault  string // call:error, and which of the calls of that name
		status int
		stderr string // what it holds; "" for nothing at all
	}{
		{"openat:error=EMFILE:when=1", 3, ""}, // all these come before anything is done, so the ordinary route does it
		{"fstat:error=EIO:when=1", 3, ""},
		{"pread64:error=EIO:when=1", 3, ""},
		{"uname:error=EFAULT:when=1", 3, ""},
		{"write:error=EINTR:when=1", 3, ""},
		{"write:error=EIO:when=1", 3, ""},
		{"rt_sigtimedwait:error=EINTR:when=1", 3, ""},
		{"wait4:error=EINTR:when=1", 3, ""},
		{"clone:error=EAGAIN:when=1", 126, "resource temporarily unavailable"},
		{"write:error=EIO:when=2", 3, ""}, // the ordinary route writes the line
		{"wait4:error=EPERM:when=1", 125, "operation not permitted"},
	} {
		for _, by := range []recorder{recorders()[0], recorders()[2]} {
			dir := t.TempDir()
			emptyTrace(t, dir)
			add := []byte("{}\n") // so that there is a last byte to look at
			if err := os.WriteFile(filepath.Join(dir, ".substrate", "trace.jsonl"), add, 0o600); err != nil {
				t.Fatal(err)
			}
			got := runProgram("/", by.env(dir), "", "/usr/bin/strace", "-o", "/dev/null", "-e", "inject="+test.fault, by.path, "-c", "exit 3")
			if got.status != test.status || !strings.Contains(got.stderr, test.stderr) || strings.Count(got.stderr, "\n") != min(len(test.stderr), 1) {
				t.Errorf("%s, %s: %+v, want status %d", by.name, test.fault, got, test.status)
			}
			if lines := recordsOf(traceOf(t, dir)); len(lines) != 3 {
				t.Errorf("%s, %s: the trace holds %v", by.name, test.fault, lines)
			}
		}
	}
}

// TestWriterIsKilledWithinALine: between the moment in which a recorder looks at the trace and its
// own write, another one begins a line and is killed. No line is lost.
func TestWriterIsKilledWithinALine(t *testing.T) { // TRC2
	if _, err := exec.LookPath("strace"); err != nil {
		testenv.Skip(t, "no strace on PATH")
	}
	for _, line := range []string{"start", "complete"} {
		for _, by := range recorders() {
			t.Run(by.name+" "+line, func(t *testing.T) {
				t.Parallel()
				killWithinLine(t, by, line == "complete")
			})
		}
	}
}

// killWithinLine leaves the beginning of a line in a trace while a recorder, which is slow, is
// about to write.
func killWithinLine(t *testing.T, by recorder, second bool) {
	dir := t.TempDir()
	emptyTrace(t, dir)
	name := filepath.Join(dir, ".substrate", "trace.jsonl")
	// All threads and each line: the runtime may write from any thread, and each has a count of its
	// own.
	cmd := exec.Command("/usr/bin/strace", "-f", "-o", "/dev/null", "-P", name, "-e", "inject=write:delay_enter=1500000", by.path, "-c", "exit 3")
	cmd.Env = by.env(dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitForWriter(t, name, second)
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"trace_schema_version":1,"ts"`); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	_ = cmd.Wait()
	whole := 0
	for line := range strings.Lines(string(traceOf(t, dir))) {
		if json.Valid([]byte(line)) {
			whole++
		}
	}
	if whole != 2 {
		t.Errorf("%d whole lines, want 2: %s", whole, traceOf(t, dir))
	}
}

// waitForWriter waits until somebody holds the lock on a trace, which has a line already if second
// is set. It takes no lock to find that out: the writer would find the trace locked and take
// another route. The writer is slow for long enough to be seen on a machine that has other work.
func waitForWriter(t *testing.T, name string, second bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		st, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		locks, err := os.ReadFile("/proc/locks")
		if err != nil {
			t.Fatal(err)
		}
		if second && st.Size() == 0 {
			continue
		}
		inode := fmt.Sprintf(":%d ", st.Sys().(*syscall.Stat_t).Ino)
		for line := range strings.Lines(string(locks)) {
			if strings.Contains(line, " FLOCK ") && strings.Contains(line, inode) {
				return
			}
		}
	}
	t.Fatal("nobody writes")
}
