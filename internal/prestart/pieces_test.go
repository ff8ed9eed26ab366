package prestart

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"substrate/internal/config"
	"substrate/internal/plain"
	"substrate/internal/record"
	"substrate/trace"
)

func TestIsClean(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		path := strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"", ".", "..", "a", ".b", "c.."}), 0, 5).Draw(t, "parts"), "/")
		if got, want := isClean(path), filepath.IsAbs(path) && filepath.Clean(path) == path && path != "/"; got != want {
			t.Fatalf("isClean(%q) = %v, want %v", path, got, want)
		}
	})
}

// maxSize is the size at which the trace is full, for a test.
const maxSize = 100 << 20

// traceAt opens the trace at a path, for a test.
func traceAt(path string) (*traceFile, bool) {
	call = testCall
	b := plain.Fixed(make([]byte, maxPath))
	f := new(traceFile)
	return f, f.open(b.Raw(path), maxSize)
}

func TestTraceNotAtHand(t *testing.T) { // TRC1, TRC2, REC9
	dir := t.TempDir()
	path := filepath.Join(dir, "trace.jsonl")
	refuse := func(why string) {
		t.Helper()
		if _, ok := traceAt(path); ok {
			t.Errorf("%s: opened", why)
		}
		_ = os.RemoveAll(path)
	}
	refuse("missing")
	must(t, os.Mkdir(path, 0o700))
	refuse("a directory")
	must(t, syscall.Mkfifo(path, 0o600))
	refuse("a named pipe")
	must(t, os.WriteFile(path, []byte("{}\n{"), 0o600))
	refuse("torn")
	must(t, os.WriteFile(path, nil, 0o600))
	must(t, os.Truncate(path, maxSize))
	refuse("full")
	must(t, os.WriteFile(path, nil, 0o600))
	other, err := os.Open(path)
	must(t, err)
	must(t, syscall.Flock(int(other.Fd()), syscall.LOCK_EX))
	refuse("locked")
	must(t, other.Close())
}

// TestSecondLine: what may have happened to the trace while the program ran. The ordinary route
// writes the line where that is not plain.
func TestSecondLine(t *testing.T) { // TRC2, REC3
	dir := t.TempDir()
	path := filepath.Join(dir, "trace.jsonl")
	one, two := lineOf("one"), lineOf("two")
	tests := []struct {
		name   string
		plain  bool
		before func(t *testing.T)
		want   string // in the file that is at the path then
	}{
		{"nothing", true, func(*testing.T) {}, one + two},
		{"another writer", true, func(t *testing.T) { add(t, path, "x\n") }, one + "x\n" + two},
		{"torn", false, func(t *testing.T) { add(t, path, "x") }, one + "x\n" + two},
		{"rotated", false, func(t *testing.T) {
			must(t, os.Rename(path, path+".1"))
			add(t, path, "x\n")
		}, "x\n" + two},
		{"removed", false, func(t *testing.T) { must(t, os.Remove(path)) }, two},
	}
	for _, test := range tests {
		_ = os.Remove(path)
		add(t, path, "")
		f, ok := traceAt(path)
		if !ok || !f.append([]byte(one)) {
			t.Fatal("the first line was not written")
		}
		f.lock(syscall.LOCK_UN)
		test.before(t)
		plain := f.again() && f.append([]byte(two))
		f.close()
		if plain != test.plain {
			t.Errorf("%s: written %v, want %v", test.name, plain, test.plain)
		}
		if !plain {
			r := record.New(config.Config{Trace: path}, func(err error) { t.Error(err) })
			r.Finish([]byte(two))
			must(t, r.Close())
		}
		if text, err := os.ReadFile(path); string(text) != test.want || err != nil {
			t.Errorf("%s: the trace holds %q, want %q", test.name, text, test.want)
		}
	}
}

// lineOf is a line of a trace.
func lineOf(cmd string) string {
	return string(trace.AppendJSON(nil, &trace.Record{
		TraceSchemaVersion: 1, TS: "2026-01-01T00:00:00.000000000Z", EventType: trace.EventComplete, Cmd: cmd,
		Completion: &trace.Completion{ScopesUsed: []string{}, DegradedComponents: []string{}},
	})) + "\n"
}

func add(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(t, err)
	_, err = f.WriteString(text)
	must(t, err)
	must(t, f.Close())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// mayCall are the functions of the runtime and of other packages that the code may call or jump to.
// Those of the first line do not need the runtime. The others are never reached: a write barrier is
// called only while the collector runs, more stack is requested only near its end, and the stack
// has none, and an index out of range would be a bug.
var mayCall = []string{
	"runtime.memclrNoHeapPointers", "unicode/utf8.",
	"runtime.gcWriteBarrier", "runtime.wbZero", "runtime.wbMove", "runtime.morestack_noctxt", "runtime.panicBounds", "runtime.panicunsafestring", "runtime.panicSlice", "runtime.panicIndex",
}

// TestNeedsNoRuntime looks at the instructions that the compiler made, for both architectures. It
// also finds variables that would have to be set when the program starts.
func TestNeedsNoRuntime(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		bin := filepath.Join(t.TempDir(), "shim")
		build := exec.Command("go", "build", "-ldflags", "-E substrate_entry", "-o", bin, "../../cmd/substrate-shim")
		build.Env = append(os.Environ(), "GOARCH="+arch, "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("go build: %v\n%s", err, out)
		}
		code, err := exec.Command("go", "tool", "objdump", "-s", `^substrate/internal/(prestart|plain|procstate|redact)\.`, bin).Output()
		if err != nil {
			t.Fatal(err)
		}
		calls := callsOf(string(code))
		seen, next := map[string]bool{}, []string{}
		for name := range calls {
			if strings.HasPrefix(name, "substrate/internal/prestart.") {
				next = append(next, name)
			}
		}
		for len(next) > 0 {
			name := next[0]
			next = next[1:]
			for _, callee := range calls[name] {
				switch {
				case seen[callee] || slices.ContainsFunc(mayCall, func(p string) bool { return strings.HasPrefix(callee, p) }):
				case strings.HasPrefix(callee, "substrate/internal/"):
					next = append(next, callee)
				default:
					t.Errorf("%s: %s calls %s", arch, name, callee)
				}
				seen[callee] = true
			}
		}
		if len(seen) < 50 || calls["substrate/internal/prestart.init"] != nil {
			t.Errorf("%s: %d functions are called; calls when the program starts: %q", arch, len(seen), calls["substrate/internal/prestart.init"])
		}
	}
}

// callsOf gives for each function in the text of objdump those that it calls or jumps to.
func callsOf(code string) map[string][]string {
	call := regexp.MustCompile(`\s(?:CALL|JMP|BL|B)\s+([a-z/][\w/.()*\x{b7}]*)\(SB\)`)
	calls := map[string][]string{}
	for _, block := range strings.Split(code, "TEXT ")[1:] {
		name, body, _ := strings.Cut(block, "(SB)")
		calls[name] = []string{}
		for _, c := range call.FindAllStringSubmatch(body, -1) {
			calls[name] = append(calls[name], c[1])
		}
	}
	return calls
}

func BenchmarkPlan(b *testing.B) {
	env := append(baseEnv(b, b.TempDir()), os.Environ()...)
	call = testCall
	p := &plan{}
	stack, keep := stackOf([]string{"substrate", "-c", "true"}, env[:5])
	b.ReportAllocs()
	for b.Loop() {
		p.environ = environ{}
		if !p.take(stack) || !p.isPlainCommand() || !p.environ.read(p.envp) || !p.place() || !p.findShell() || !p.planShell() {
			b.Fatal("not plain")
		}
	}
	_ = keep
}
