package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"substrate/internal/tracecheck"
)

// program is the path of the real binary: linked as it is shipped, because what is tested
// here are file descriptors, signals and terminals, which a test binary would change.
var program string

// shimmed is a link of the name bash to the real substrate-shim: what runs behind it must behave as
// bash does, and be recorded. The two programs lie apart, so that nothing is deployed.
var shimmed string

// recorder is a way to have a bash recorded.
type recorder struct{ name, path, variable string }

// recorders are the two programs, each by the route before the Go runtime starts and by the
// ordinary one, which any unknown variable asks for.
func recorders() []recorder {
	const ordinary = "SUBSTRATE_EARLY=0"
	return []recorder{
		{"shell", program, "X=1"},
		{"shell, ordinary route", program, ordinary},
		{"shim", shimmed, "X=1"},
		{"shim, ordinary route", shimmed, ordinary},
	}
}

// env is the environment of the recorder.
func (r recorder) env(home string) []string { return append(cleanEnv(home), r.variable) }

// TestMain builds the program once.
func TestMain(m *testing.M) {
	status := 1
	if err := build(func() { status = m.Run() }); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(status)
}

// build calls run with program set.
func build(run func()) error {
	dir, err := os.MkdirTemp("", "substrate-test-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary directory
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	program, shimmed = filepath.Join(dir, "substrate"), filepath.Join(dir, "links", "bash")
	shim := filepath.Join(dir, "shim", "substrate-shim")
	sources := map[string]string{program: ".", shim: "../substrate-shim"}
	if built := os.Getenv("SUBSTRATE_TEST_PROGRAM"); built != "" {
		// The machine of `make test-vm` has no compiler; the built shim lies beside the program.
		sources = nil
		if err := errors.Join(copyProgram(built, program), copyProgram(built+"-shim", shim)); err != nil {
			return err
		}
	}
	for bin, pkg := range sources {
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w -E substrate_entry", "-o", bin, pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go build: %w\n%s", err, out)
		}
	}
	if err := os.Mkdir(filepath.Dir(shimmed), 0o755); err != nil {
		return err
	}
	if err := os.Symlink(shim, shimmed); err != nil {
		return err
	}
	if err := install(filepath.Join(dir, "installed"), program, shim); err != nil {
		return err
	}
	run()
	return nil
}

// TestScripts runs each testdata/script/*.txtar in a directory and a home of its own, and
// checks every line that it left in a trace: the schema, and one start and one complete
// line for each span (REC3, TRC7).
//
// Besides the commands of testscript there are
//
//	both ARGS...          run bash and substrate with ARGS; stdout, stderr and status must be
//	                      the same, and substrate must have recorded one span with that status
//	input FILE            what the next both and pipe get as standard input
//	last FIELD VALUE      compare a field of the last complete line; "a.b" is one in an object
//	spans N               the trace holds N spans
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:   "testdata/script",
		Setup: setup,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"both": cmdBoth, "fits": cmdFits, "input": cmdInput, "last": cmdLast, "spans": cmdSpans,
		},
		RequireUniqueNames: true,
		Condition:          condition,
		ContinueOnError:    testing.Verbose(),
	})
}

// condition knows [fuse]: the caller can use fuse-overlayfs. Where /dev/fuse is for root alone,
// root's pass shows what it does.
func condition(name string) (bool, error) {
	if name != "fuse" {
		return false, fmt.Errorf("condition %s is not known", name)
	}
	device, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return false, nil
	}
	_, err = exec.LookPath("fuse-overlayfs")
	return err == nil, device.Close()
}

func setup(env *testscript.Env) error {
	home := filepath.Join(env.WorkDir, "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		return err
	}
	env.Vars = append(cleanEnv(home), "WORK="+env.WorkDir, "TMPDIR="+env.WorkDir, "PROGRAM="+program, "INSTALLED="+installed())
	env.Defer(func() {
		for _, problem := range append(checkTraces(env.WorkDir), checkSecrets(home)...) {
			env.T().(testing.TB).Error(problem)
		}
	})
	return nil
}

// cleanEnv is the environment of every command under test.
func cleanEnv(home string) []string {
	return []string{
		"HOME=" + home, "SHELL=/bin/bash", "LANG=C.UTF-8", "USER=tester",
		"PATH=" + filepath.Dir(program) + ":/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
	}
}

// checkTraces checks all traces below dir.
func checkTraces(dir string) (problems []string) {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || d.Name() != "trace.jsonl" {
			return nil //nolint:nilerr // a script may leave directories that cannot be read
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		problems = append(problems, checkTrace(path, text)...)
		return nil
	})
	if err != nil {
		problems = append(problems, err.Error())
	}
	return problems
}

// planted are the secrets that scripts use. They are put together from pieces, so that no scanner
// takes them for real.
var planted = []string{"hunt" + "er2", "gh" + "p_a8Fk2Lq9Zr4Tm7Xw1Bc6Vn3Hp5Dj0Gs8Ye2K"}

// checkSecrets looks for planted secrets in every file that substrate wrote below home: nothing but
// the vault may have one (REC10).
func checkSecrets(home string) (problems []string) {
	err := filepath.WalkDir(home, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || d.Name() == "vault.jsonl" || !strings.Contains(path, "/.substrate/") {
			return nil //nolint:nilerr // a script may leave directories that cannot be read
		}
		text, err := os.ReadFile(path)
		for _, secret := range planted {
			if bytes.Contains(text, []byte(secret)) {
				problems = append(problems, path+" holds "+secret)
			}
		}
		return err
	})
	if err != nil {
		problems = append(problems, err.Error())
	}
	return problems
}

// checkTrace checks one trace.
func checkTrace(path string, text []byte) (problems []string) {
	found, err := tracecheck.Validate(bytes.NewReader(text))
	if err != nil {
		return []string{err.Error()}
	}
	for _, p := range found {
		problems = append(problems, path+": "+p.String())
	}
	for id, s := range spansOf(text) {
		if len(s.start) != 1 || len(s.complete) != 1 {
			problems = append(problems, fmt.Sprintf("%s: span %s (%v) has %d start and %d complete lines, want one of each",
				path, id, append(s.start, s.complete...)[0]["cmd"], len(s.start), len(s.complete)))
		}
	}
	return problems
}

// span is what a trace says of one span.
type span struct{ start, complete []map[string]any }

// spansOf takes a trace apart; lines that are not JSON are left to checkTrace.
func spansOf(text []byte) map[string]*span {
	spans := map[string]*span{}
	for _, line := range recordsOf(text) {
		id, _ := line["span_id"].(string)
		if spans[id] == nil {
			spans[id] = &span{}
		}
		if line["event_type"] == "command_start" {
			spans[id].start = append(spans[id].start, line)
		} else {
			spans[id].complete = append(spans[id].complete, line)
		}
	}
	return spans
}

// recordsOf decodes the lines of a trace.
func recordsOf(text []byte) (lines []map[string]any) {
	for line := range bytes.Lines(text) {
		var m map[string]any
		if json.Unmarshal(line, &m) == nil {
			lines = append(lines, m)
		}
	}
	return lines
}

// lastComplete is the last complete line of a trace.
func lastComplete(text []byte) map[string]any {
	lines := recordsOf(text)
	for i := len(lines) - 1; i >= 0; i-- {
		if lines[i]["event_type"] == "command_complete" {
			return lines[i]
		}
	}
	return nil
}

// field finds "a.b" in a record.
func field(record map[string]any, path string) string {
	var v any = record
	for _, name := range strings.Split(path, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return ""
		}
		v = m[name]
	}
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	}
	text, _ := json.Marshal(v)
	return string(text)
}

// result is how a program ended.
type result struct {
	stdout, stderr string
	status         int
}

// runProgram runs a program to its end, with its base name as argv[0].
func runProgram(dir string, env []string, stdin, path string, args ...string) result {
	cmd := &exec.Cmd{Path: path, Args: append([]string{filepath.Base(path)}, args...)}
	cmd.Dir, cmd.Env, cmd.Stdin = dir, env, strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); cmd.ProcessState == nil {
		return result{stderr: err.Error(), status: -1}
	}
	return result{stdout.String(), stderr.String(), statusOf(cmd.ProcessState)}
}

// statusOf is the status as a shell sees it.
func statusOf(state *os.ProcessState) int {
	if status := state.Sys().(syscall.WaitStatus); status.Signaled() {
		return 128 + int(status.Signal())
	}
	return state.ExitCode()
}

func scriptEnv(ts *testscript.TestScript) []string {
	env := cleanEnv(ts.Getenv("HOME"))
	for _, name := range []string{"SHELL", "PATH", "SHIM_TRACE_LOG", "SUBSTRATE_IN_WORLD", "EXTRA"} {
		if v := ts.Getenv(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	return append(env, "PWD="+ts.MkAbs("."))
}

func cmdBoth(ts *testscript.TestScript, neg bool, args []string) {
	stdin := ""
	if name := ts.Getenv("INPUT"); name != "" {
		stdin = ts.ReadFile(name)
		ts.Setenv("INPUT", "")
	}
	trace := filepath.Join(ts.Getenv("HOME"), ".substrate", "trace.jsonl")
	before, _ := os.ReadFile(trace)
	want := runProgram(ts.MkAbs("."), scriptEnv(ts), stdin, "/bin/bash", args...)
	got := runProgram(ts.MkAbs("."), scriptEnv(ts), stdin, program, args...)
	if (got != want) != neg {
		ts.Fatalf("substrate %q:\n%+v\nbash:\n%+v", args, got, want)
	}
	text, _ := os.ReadFile(trace)
	if added := recordsOf(text[len(before):]); len(added) != 2 || field(added[1], "exit") != fmt.Sprint(got.status) {
		ts.Fatalf("substrate %q ended with %d and added %d lines, want two with that status: %v", args, got.status, len(added), added)
	}
}

func cmdInput(ts *testscript.TestScript, _ bool, args []string) { ts.Setenv("INPUT", args[0]) }

func cmdLast(ts *testscript.TestScript, neg bool, args []string) {
	text := ts.ReadFile(filepath.Join(ts.Getenv("HOME"), ".substrate", "trace.jsonl"))
	if got := field(lastComplete([]byte(text)), args[0]); (got == args[1]) == neg {
		ts.Fatalf("%s of the last span is %q, want %q", args[0], got, args[1])
	}
}

func cmdSpans(ts *testscript.TestScript, _ bool, args []string) {
	text, err := os.ReadFile(filepath.Join(ts.Getenv("HOME"), ".substrate", "trace.jsonl"))
	if err != nil && args[0] != "0" {
		ts.Fatalf("%v", err)
	}
	if got := fmt.Sprint(len(spansOf(text))); got != args[0] {
		ts.Fatalf("the trace holds %s spans, want %s", got, args[0])
	}
}
