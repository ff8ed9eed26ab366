package prestart

import (
	"crypto/sha256"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"substrate/internal/config"
	"substrate/trace"
)

func TestShortHash(t *testing.T) { // REC5
	for n := range 200 {
		s := strings.Repeat("x", n)
		sum := sha256.Sum256([]byte(s))
		if got, want := shortHash(s), binary.BigEndian.Uint64(sum[:8]); got != want {
			t.Fatalf("shortHash of %d bytes = %x, want %x", n, got, want)
		}
	}
}

func TestTimestamp(t *testing.T) { // TRC4
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(rapid.Int64Range(0, 253402300799).Draw(t, "s"), rapid.Int64Range(0, 999999999).Draw(t, "ns"))
		var l line
		l.timestamp(syscall.Timespec{Sec: at.Unix(), Nsec: int64(at.Nanosecond())})
		if got, want := string(l.buf[:l.n]), `"`+trace.FormatTime(at)+`"`; got != want {
			t.Fatalf("timestamp = %s, want %s", got, want)
		}
	})
}

func TestIDs(t *testing.T) { // TRC4
	var id idText
	form := regexp.MustCompile(`^spn_[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}$`)
	now := time.Now()
	for _, random := range []uint64{0, ^uint64(0), 1 << 63} {
		id.set("spn_", tick(syscall.Timespec{Sec: now.Unix(), Nsec: int64(now.Nanosecond())}), random)
		if !form.MatchString(id.String()) {
			t.Errorf("id %s", id.String())
		}
	}
	later := trace.NewSpanID()
	if id.String() >= later || id.String()[:12] != later[:12] {
		t.Errorf("%s does not sort close before %s, which was made later", id.String(), later)
	}
}

func TestShimsFirst(t *testing.T) { // SHM7
	rapid.Check(t, func(t *rapid.T) {
		const dir = "/s/shims"
		entry := rapid.SampledFrom([]string{"", "/bin", dir, dir + "/", dir + "//", "/s", dir + "x", "x" + dir, "//"})
		path := strings.Join(rapid.SliceOfN(entry, 0, 6).Draw(t, "path"), ":")
		var first, rest cstring
		first.in(make([]byte, maxList))
		rest.in(make([]byte, maxList))
		original, put := shimsFirst(path, dir, &first, &rest)
		wantFirst, wantOriginal := config.ShimsFirst(path, dir)
		if original != wantOriginal || put != (wantFirst != path || wantOriginal != path) || put && first.String() != wantFirst {
			t.Fatalf("shimsFirst(%q) = %q, %v, %q; want %q, %q", path, original, put, first.String(), wantOriginal, wantFirst)
		}
	})
}

func TestLastNames(t *testing.T) { // SHM6
	rapid.Check(t, func(t *rapid.T) {
		stack := strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"", "a", "bc"}), 0, 12).Draw(t, "names"), "/")
		if got, want := lastNames(stack, maxCallStack), strings.Join(config.SplitCallStack(stack), "/"); got != want {
			t.Fatalf("lastNames(%q) = %q, want %q", stack, got, want)
		}
		if maxCallStack != config.MaxCallStack {
			t.Fatal("maxCallStack")
		}
	})
}

func TestIsClean(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		path := strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"", ".", "..", "a", ".b", "c.."}), 0, 5).Draw(t, "parts"), "/")
		if got, want := isClean(path), filepath.IsAbs(path) && filepath.Clean(path) == path && path != "/"; got != want {
			t.Fatalf("isClean(%q) = %v, want %v", path, got, want)
		}
	})
}

// traceAt opens the trace at a path, for a test.
func traceAt(path string) (*traceFile, bool) {
	call = testCall
	f, p := new(traceFile), new(cstring)
	p.in(make([]byte, maxPath))
	p.add(path)
	return f, f.open(p, 0)
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

// TestSecondLine: what may have happened to the trace while the program ran.
func TestSecondLine(t *testing.T) { // TRC2, REC3
	dir := t.TempDir()
	path := filepath.Join(dir, "trace.jsonl")
	tests := []struct {
		name   string
		before func(t *testing.T)
		want   string // in the file that is at the path then
	}{
		{"nothing", func(*testing.T) {}, "one\ntwo\n"},
		{"another writer", func(t *testing.T) { add(t, path, "x\n") }, "one\nx\ntwo\n"},
		{"torn", func(t *testing.T) { add(t, path, "x") }, "one\nx\ntwo\n"},
		{"rotated", func(t *testing.T) {
			must(t, os.Rename(path, path+".1"))
			add(t, path, "x\n")
		}, "x\ntwo\n"},
		{"removed", func(t *testing.T) { must(t, os.Remove(path)) }, "two\n"},
	}
	for _, test := range tests {
		_ = os.Remove(path)
		add(t, path, "")
		f, ok := traceAt(path)
		if !ok || !f.start([]byte("one\n")) {
			t.Fatal("the first line was not written")
		}
		test.before(t)
		if n, want := f.finish([]byte("\ntwo\n")); n != want {
			t.Errorf("%s: finish = %d, want %d", test.name, n, want)
		}
		f.close()
		if text, err := os.ReadFile(path); string(text) != test.want || err != nil {
			t.Errorf("%s: the trace holds %q, want %q", test.name, text, test.want)
		}
	}
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

// mayCall are the functions of the runtime and of other packages that the code may call or jump to. Those of the first
// group do not need the runtime; the others are never reached: a barrier is called while the collector
// runs, and there is none; more stack is asked for when the end is near, and there is no end; and an
// index out of range would be a bug.
var mayCall = []string{
	"runtime.memclrNoHeapPointers", "unicode/utf8.", "syscall.Errno.Error",
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
		code, err := exec.Command("go", "tool", "objdump", "-s", `^substrate/internal/(prestart|redact)\.`, bin).Output()
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

func BenchmarkShortHash(b *testing.B) {
	s := strings.Repeat("x", 40)
	for b.Loop() {
		shortHash(s)
	}
}
