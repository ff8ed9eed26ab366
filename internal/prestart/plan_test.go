package prestart

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"substrate/internal/config"
	"substrate/internal/plain"
	"substrate/internal/record"
	"substrate/trace"
)

// The kernel for tests, in which the runtime has started.
func testCall(number, a, b, c, d uintptr) int {
	r, _, errno := syscall.RawSyscall6(number, a, b, c, d, 0, 0)
	if errno != 0 {
		return -int(errno)
	}
	return int(r)
}

// stackOf lays out what the kernel puts on the stack of a program that begins. The slices that it
// returns keep it alive.
func stackOf(argv, env []string) (stack *uintptr, keep []any) {
	words := []uintptr{uintptr(len(argv))}
	addAll := func(list []string) {
		for _, s := range list {
			b := append([]byte(s), 0)
			keep = append(keep, b)
			words = append(words, uintptr(unsafe.Pointer(&b[0])))
		}
		words = append(words, 0)
	}
	addAll(argv)
	addAll(env)
	random := make([]byte, 16)
	keep = append(keep, random)
	words = append(words, auxEUID, uintptr(os.Geteuid()), auxRandom, uintptr(unsafe.Pointer(&random[0])), auxEGID, uintptr(os.Getegid()), 0, 0)
	return &words[0], append(keep, words)
}

// startLine is the start line that this package would write; "" if this is not the plain case.
func startLine(t testing.TB, shim bool, argv, env []string) string {
	t.Helper()
	call = testCall
	p := &plan{isShim: shim}
	stack, keep := stackOf(argv, env)
	ok := p.take(stack)
	if shim {
		ok = ok && p.environ.read(p.envp) && p.place() && p.findProgram() && p.planShim()
	} else {
		ok = ok && p.isPlainCommand() && p.environ.read(p.envp) && p.place() && p.findShell() && p.planShell()
	}
	if !ok {
		return ""
	}
	line := string(p.whole(plain.EventStart))
	_ = keep[len(keep)-1]
	return line
}

// ordinaryLine is the start line that package record writes.
func ordinaryLine(t testing.TB, shim bool, argv, env []string, program string) string {
	t.Helper()
	cfg := config.Load(env)
	cfg.Trace = filepath.Join(t.TempDir(), "trace.jsonl")
	c := record.Command{
		Component: trace.ComponentShell, Cmd: argv[min(2, len(argv)-1)], Shell: program, ShellArgs: argv[1:],
		Umask: record.UmaskUnknown, Env: env,
	}
	if shim {
		c = record.Command{
			Component: trace.ComponentShim, Cmd: plain.Quoted(argv), Argv: argv, Resolved: program, Name: filepath.Base(argv[0]),
			Umask: record.UmaskUnknown, Env: env,
		}
	}
	rec := record.New(cfg, func(err error) { t.Error(err) })
	rec.Begin(c)
	if err := rec.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(cfg.Trace)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// differ matches what differs between two lines for the same command: times and fresh ids.
var differ = regexp.MustCompile(`"ts":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z"|"(spn|ses)_[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}"`)

func normal(line string) string { return differ.ReplaceAllString(line, `"$1"`) }

// baseEnv is the environment of a plain case, in a home that has no shims. The working directory
// becomes one whose name cannot be taken for a secret, whatever that of the source is.
func baseEnv(t testing.TB, home string) []string {
	t.Chdir("/")
	return []string{"HOME=" + home, "PATH=/usr/bin:/bin", "PWD=/", "LANG=C.UTF-8", "SUBSTRATE_NO_SHIMS=1"}
}

func TestStartLineIsTheOrdinaryOne(t *testing.T) { // REC1, REC5, SHM6
	home := t.TempDir()
	tests := []struct {
		argv []string
		env  []string
	}{
		{[]string{"substrate", "-c", "true"}, nil},
		{[]string{"substrate", "-lc", "echo 'a b' \"\x01\n\t\r\\\u2028\u2029é🙂<&>\x7f", "name", "", "arg"}, []string{"LC_ALL=é", "A=", "B=\xff", "AA=x", "A_=y"}},
		{[]string{"substrate", "-c", ""}, []string{"SHIM_SESSION_ID=ses_1", "SHIM_PARENT_SPAN=spn_1", "SHIM_DEPTH=7", "SHIM_CALLER=make", "SHIM_CALL_STACK=bash/make"}},
		{[]string{"substrate", "-ec", "x"}, []string{"SHIM_CALL_STACK=a/b/c/d/e/f/g/h/i", "SHIM_ORIGINAL_PATH=/bin", "SUBSTRATE_AGENT_ID=bot", "SHELL=/usr/bin/sh"}},
		{[]string{"env"}, nil},
		{[]string{"substrate", "-c", "x"}, []string{"SHIM_DEPTH=32", "SHELL=/usr/bin/sh", "TRACE_LOG_MAX_MB=5", "TRACE_LOG_KEEP=1"}},
		{[]string{"substrate", "-c", "x"}, []string{"TRACE_LOG_KEEP=", "SHIM_BYPASS=no", "SUBSTRATE_REQUIRE_WORLD=maybe"}},
		{[]string{"/home/x/env", "a b", "it's", "", "~", "''", "a=b", "é", "-x", "\n"}, []string{"SHIM_ORIGINAL_PATH=/no/such:/usr/bin", "SHIM_CALL_STACK=//x/", "NOVALUE", "=odd"}},
		{[]string{"substrate", "-c", "not UTF-8 \xff", "\xfe", "é"}, []string{"SHIM_CALLER=\xff", "LC_X=\xff", "LC_Y=y", "LC_Z=\xfe\xff", "\xff=1", "SHIM_CALL_STACK=\xff", "SHELL=/usr/bin/\xff"}},
		{[]string{"env", "\xff", "", "ab", "abc", "abcd"}, nil},
		{[]string{"env", "x"}, []string{"TERM=dumb", "LONG=" + strings.Repeat("x", 119), "LONG2=" + strings.Repeat("x", 55), "LONG3=" + strings.Repeat("x", 56), "LONG4=" + strings.Repeat("x", 64)}},
	}
	for _, test := range tests {
		env := append(baseEnv(t, home), test.env...)
		shim := test.argv[0] != "substrate"
		got := startLine(t, shim, test.argv, env)
		program := "/usr/bin/env"
		if !shim {
			program = config.Load(env).Shell
		}
		if want := ordinaryLine(t, shim, test.argv, env, program); normal(got) != normal(want) {
			t.Errorf("%q:\n%s, want\n%s", test.argv, got, want)
		}
	}
}

// FuzzStartLine holds this package's line against that of package record.
func FuzzStartLine(f *testing.F) {
	f.Add("echo hi", "PATH=/x", "a/b", true)
	f.Add("it's\u2028é", "LC_ALL=\"", "", false)
	f.Add("curl -u a:b", "A=\x80", "/", true)
	home := f.TempDir()
	f.Fuzz(func(t *testing.T, word, entry, stack string, shim bool) {
		if strings.Contains(word+entry+stack, "\x00") || strings.HasPrefix(entry, "PWD=") || strings.HasPrefix(entry, "HOME=") {
			return
		}
		argv, program := []string{"substrate", "-c", word, word}, "/bin/bash"
		if shim {
			argv, program = []string{"env", word}, "/usr/bin/env"
		}
		env := append(baseEnv(t, home), entry, "SHIM_CALL_STACK="+stack)
		got := startLine(t, shim, argv, env)
		if got == "" {
			return // left to the ordinary route
		}
		if want := ordinaryLine(t, shim, argv, env, program); normal(got) != normal(want) {
			t.Errorf("%q, %q, %q:\n%s, want\n%s", word, entry, stack, got, want)
		}
	})
}

// TestNotThePlainCase: each of these is for the ordinary route.
func TestNotThePlainCase(t *testing.T) {
	home := t.TempDir()
	if startLine(t, false, []string{"substrate", "-c", "true"}, baseEnv(t, home)) == "" || startLine(t, true, []string{"env"}, baseEnv(t, home)) == "" {
		t.Fatal("the plain case is not plain")
	}
	for _, argv := range [][]string{
		{"substrate"},
		{"substrate", "-c"},
		{"-substrate", "-c", "x"},
		{"substrate", "x.sh"},
		{"substrate", "--ci", "-c", "x"},
		{"substrate", "-o", "pipefail", "-c", "x"},
		{"substrate", "-norc", "x"},
		{"substrate", "-c", "-l", "x"},
		{"substrate", "-c", "+x"},
		{"substrate", "-sc", "x"},
		{"substrate", "-Oc", "x"},
		{"substrate", "--capture", "-c", "x"},
		{"substrate", "-x", "y"},
		{"substrate", "-c", "curl -u me:secret host"},
		{"substrate", "-c", "x", "--password", "y"},
		{"substrate", "-c", strings.Repeat("\x01", 30_000)},
	} {
		if got := startLine(t, false, argv, baseEnv(t, home)); got != "" {
			t.Errorf("%q: %s", argv, got)
		}
	}
	for _, argv := range [][]string{{"no-such-program"}, {"env/"}, {""}, {"env", "API_KEY=x"}} {
		if got := startLine(t, true, argv, baseEnv(t, home)); got != "" {
			t.Errorf("%q: %s", argv, got)
		}
	}
	for _, entry := range []string{
		"SUBSTRATE_EARLY=0", "SUBSTRATE_CAPTURE=1", "SUBSTRATE_LOG=debug", "SUBSTRATE_REDACT=off", "SHIM_FSYNC=1", "TRACE_LOG_MAX_MB=0", "TRACE_LOG_MAX_MB=x", "SHIM_TRACE_LOG=x",
		"SHIM_TRACE_LOG=/a/../b", "SHIM_DEPTH=x", "SHIM_DEPTH=1234567", "SHIM_DEPTH=", "SHIM_SESSION_ID=a b", "SHIM_PARENT_SPAN=" + strings.Repeat("x", 129), "SHIM_ORIGINAL_PATH=",
		"LANG=twice", "SHELL=bash", "RUST_LOG=password=x", "SUBSTRATE_CAPTURE=0",
		"SHIM_BYPASS=maybe", "SHIM_BYPASS=TRUE", "TRACE_LOG_KEEP=-1", "TRACE_LOG_KEEP=x", "SUBSTRATE_CAPTURE_MAX=x",
	} {
		if got := startLine(t, false, []string{"substrate", "-c", "true"}, append(baseEnv(t, home), entry)); got != "" {
			t.Errorf("%q: %s", entry, got)
		}
	}
	for value, plain := range map[string]bool{"1": true, "true": true, "": true, "0": true, "off": true, "no": true, "false": true, "maybe": false, "yes": false} {
		env := slices.DeleteFunc(baseEnv(t, home), func(entry string) bool { return strings.HasPrefix(entry, "SUBSTRATE_NO_SHIMS=") })
		got := startLine(t, true, []string{"env"}, append(env, "SUBSTRATE_NO_SHIMS="+value))
		if (got != "") != plain {
			t.Errorf("SUBSTRATE_NO_SHIMS=%s: %q, want a line: %v", value, got, plain)
		}
	}
	for _, home := range []string{"", "x", "/", "/a/", "/a//b", "/a/./b", "/.."} {
		if got := startLine(t, false, []string{"substrate", "-c", "true"}, baseEnv(t, home)); got != "" {
			t.Errorf("HOME=%s: %s", home, got)
		}
	}
}

// TestProgramsEnvironment: what a program gets is what the ordinary route gives it.
func TestProgramsEnvironment(t *testing.T) { // REC8, SHM6
	home := t.TempDir()
	env := append(baseEnv(t, home), "SHIM_CALL_STACK=a/b/c/d/e/f/g/h", "SHIM_DEPTH=8", "SHIM_CALLER=h", "X=y", "SHIM_SESSION_ID=ses_1", "NOVALUE")
	call = testCall
	p := &plan{isShim: true}
	stack, keep := stackOf([]string{"env"}, env)
	if !p.take(stack) || !p.environ.read(p.envp) || !p.place() || !p.findProgram() || !p.planShim() {
		t.Fatal("not plain")
	}
	var got []string
	for i := 0; p.environ.out[i] != nil; i++ {
		got = append(got, text(p.environ.out[i]))
	}
	_ = keep
	want := append(baseEnv(t, home), "X=y", "NOVALUE", "SHIM_SESSION_ID=ses_1", "SHIM_PARENT_SPAN="+p.start.SpanID, "SHIM_DEPTH=9", "SHIM_CALLER=env",
		"SHIM_CALL_STACK=b/c/d/e/f/g/h/env", "SHIM_ORIGINAL_PATH=/usr/bin:/bin")
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("environment\n%q, want\n%q", got, want)
	}
}

// TestCompleteLine holds the second line against trace.AppendJSON, from the exit status on.
func TestCompleteLine(t *testing.T) { // TRC4
	call = testCall
	p := &plan{}
	stack, keep := stackOf([]string{"substrate"}, nil)
	p.take(stack)
	_ = keep
	p.now.Sec, p.began, p.common = 1, clock(monotonic), lineHead
	usage := &syscall.Rusage{Utime: syscall.Timeval{Sec: 1, Usec: 2999}, Stime: syscall.Timeval{Usec: 999}, Maxrss: 1234}
	line := trace.AppendJSON(nil, &trace.Record{Completion: &trace.Completion{
		Exit: 143, TermSignal: 15, Usage: trace.Usage{UserMS: 1002, SysMS: 0, MaxRSSKB: 1234}, ScopesUsed: []string{}, DegradedComponents: []string{},
	}})
	want := string(line[bytes.Index(line, []byte(`,"exit"`)):]) + "\n"
	head, end, _ := strings.Cut(string(p.complete(143, 15, usage)), `,"exit"`)
	if got := `,"exit"` + end; got != want {
		t.Errorf("complete line ends\n%s, want\n%s", got, want)
	}
	if !regexp.MustCompile(`^\{"trace_schema_version":1,"ts":"[^"]*","event_type":"command_complete"$`).MatchString(head) {
		t.Errorf("complete line begins %q", head)
	}
}

func TestOffsetsOfChild(t *testing.T) {
	got := [...]uintptr{
		unsafe.Offsetof(child{}.path), unsafe.Offsetof(child{}.argv), unsafe.Offsetof(child{}.envp), unsafe.Offsetof(child{}.mask), unsafe.Offsetof(child{}.failed),
	}
	for _, file := range []string{"entry_amd64.s", "entry_arm64.s"} {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, name := range []string{"path 0", "argv 8", "envp 16", "mask 24", "failed 32"} {
			if !strings.Contains(string(source), "#define child_"+name+"\n") || got[i] != uintptr(8*i) {
				t.Errorf("%s: child_%s, field at %d", file, name, got[i])
			}
		}
	}
}

// TestManyVariables: as many variables as there may be, and one more.
func TestManyVariables(t *testing.T) {
	env := baseEnv(t, t.TempDir())
	for i := len(env); i < maxVars; i++ {
		env = append(env, fmt.Sprintf("V%d=%d", i, i))
	}
	argv := []string{"substrate", "-c", "true"}
	if got, want := startLine(t, false, argv, env), ordinaryLine(t, false, argv, env, "/bin/bash"); normal(got) != normal(want) {
		t.Errorf("\n%s, want\n%s", got, want)
	}
	if got := startLine(t, false, argv, append(env, "ONE=MORE")); got != "" {
		t.Errorf("with %d variables: %s", maxVars+1, got)
	}
}
