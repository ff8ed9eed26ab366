package record

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"substrate/internal/config"
	"substrate/internal/tracecheck"
	"substrate/trace"
)

// testConfig is one whose trace lies in a temporary directory and is checked at the end.
func testConfig(t *testing.T) config.Config {
	t.Helper()
	dir := t.TempDir()
	cfg := config.Config{
		Trace: filepath.Join(dir, "trace.jsonl"), ShimDir: "/h/.substrate/shims", AgentID: "human",
		SessionID: "ses_given", ParentSpan: "spn_parent", Depth: 2, Caller: "npm", CallStack: []string{"bash", "npm"}, UID: 7, GID: 8,
	}
	t.Cleanup(func() {
		f, err := os.Open(cfg.Trace)
		if err != nil {
			return
		}
		problems, err := tracecheck.Validate(f)
		if len(problems) > 0 || err != nil {
			t.Errorf("the trace is not valid: %v, %v", problems, err)
		}
		_ = f.Close()
	})
	return cfg
}

func noWarning(t *testing.T) func(error) {
	return func(err error) { t.Errorf("warning: %v", err) }
}

// linesOf decodes the trace of a config.
func linesOf(t *testing.T, cfg config.Config) (lines []trace.Record) {
	t.Helper()
	text, err := os.ReadFile(cfg.Trace)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		r, err := trace.Decode([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, *r)
	}
	return lines
}

func TestSpan(t *testing.T) { // REC3, REC5, TRC4
	cfg := testConfig(t)
	r := New(cfg, noWarning(t))
	s := r.Begin(Command{
		Component: trace.ComponentShell, Cmd: "make \xff", Shell: "/bin/bash", ShellArgs: []string{"-c", "make \xff"},
		Cwd: "/d", Umask: 0o27, Env: []string{"PATH=/bin", "SECRET=abc"},
	})
	if lines := linesOf(t, cfg); len(lines) != 1 || lines[0].EventType != trace.EventStart || lines[0].Completion != nil {
		t.Fatalf("after Begin the trace holds %+v, want a start line", lines)
	}
	s.End(trace.Completion{Exit: 143, TermSignal: 15, DurationMS: 5, Usage: trace.Usage{UserMS: 1, SysMS: 2, MaxRSSKB: 3}})
	s.End(trace.Completion{Exit: 1})
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	lines := linesOf(t, cfg)
	if len(lines) != 2 {
		t.Fatalf("the trace holds %d lines, want 2", len(lines))
	}
	host, _ := os.Hostname()
	want := trace.Record{
		TraceSchemaVersion: trace.SchemaVersion, TS: lines[1].TS, EventType: trace.EventComplete, SessionID: "ses_given", Component: "shell",
		SpanID: s.ID(), ParentSpan: "spn_parent", Cmd: "make \xff", Shell: "/bin/bash", ShellArgs: []string{"-c", "make \xff"},
		Cwd: "/d", Umask: "0027", Env: map[string]string{"PATH": "/bin"}, EnvHashes: map[string]string{"SECRET": "ba"},
		AgentID: "human", Host: host, UID: 7, GID: 8, PID: os.Getpid(), Depth: 2, Caller: "npm", CallStack: []string{"bash", "npm"},
		Completion: &trace.Completion{
			Exit: 143, TermSignal: 15, DurationMS: 5, Usage: trace.Usage{UserMS: 1, SysMS: 2, MaxRSSKB: 3},
			ScopesUsed: []string{}, DegradedComponents: []string{},
		},
	}
	if diff := cmp.Diff(want, lines[1]); diff != "" {
		t.Errorf("complete line (-want +got):\n%s", diff)
	}
	want.Completion, want.EventType, want.TS = nil, trace.EventStart, lines[0].TS
	if diff := cmp.Diff(want, lines[0]); diff != "" {
		t.Errorf("start line (-want +got):\n%s", diff)
	}
	if _, err := time.Parse(time.RFC3339Nano, lines[0].TS); err != nil || lines[0].TS > lines[1].TS {
		t.Errorf("times %s and %s: %v", lines[0].TS, lines[1].TS, err)
	}
}

func TestUmaskIsReadAndKept(t *testing.T) { // REC5
	for range 2 {
		if got, want := umask(UmaskUnknown), umaskOfProc(t); got != want {
			t.Errorf("umask = %s, want %s", got, want)
		}
	}
}

func umaskOfProc(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "Umask:\t")
	line, _, _ := strings.Cut(rest, "\n")
	return line
}

func TestEnviron(t *testing.T) { // REC8
	s := New(testConfig(t), noWarning(t)).Begin(Command{Component: trace.ComponentShell, Cmd: "x", Shell: "/usr/bin/bash", Cwd: "/"})
	defer s.End(trace.Completion{})
	in := []string{"A=1", "SHIM_DEPTH=9", "SHIM_PARENT_SPAN=old", "noequals", "SHIM_TRACE_LOG=/t", "A=2"}
	got := s.Environ(slices.Clone(in))
	want := []string{
		"A=1", "noequals", "SHIM_TRACE_LOG=/t", "A=2", "SHIM_SESSION_ID=ses_given", "SHIM_PARENT_SPAN=" + s.ID(),
		"SHIM_DEPTH=3", "SHIM_CALLER=bash", "SHIM_CALL_STACK=bash/npm/bash",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Environ (-want +got):\n%s", diff)
	}
}

func TestSiblings(t *testing.T) { // REC8: the parent is never what ran before in this process
	cfg := testConfig(t)
	cfg.SessionID = ""
	r := New(cfg, noWarning(t))
	a := r.Begin(Command{Component: trace.ComponentShell, Cwd: "/"})
	b := r.Begin(Command{Component: trace.ComponentShell, Cwd: "/"})
	if a.ID() == b.ID() || a.record.SessionID == b.record.SessionID || a.record.SessionID == "" {
		t.Errorf("spans %s %s, sessions %s %s", a.ID(), b.ID(), a.record.SessionID, b.record.SessionID)
	}
	b.End(trace.Completion{})
	a.End(trace.Completion{})
	for _, line := range linesOf(t, cfg) {
		if line.ParentSpan != "spn_parent" {
			t.Errorf("parent_span %q, want that of the environment", line.ParentSpan)
		}
	}
}

func TestEnvironment(t *testing.T) { // REC5, RPL3
	values, hashes := environment([]string{
		"PATH=/bin:/h/.substrate/shims/:/sbin:/h/.substrate/shims::x", "HOME=/h", "SHELL=/s", "USER=u", "LOGNAME=l", "LANG=C", "LC_ALL=C",
		"LC_X=\xff", "TERM=t", "TZ=z", "RUST_LOG=r", "SUBSTRATE_LOG=s", "LANGUAGE=de", "TOKEN=abc", "EMPTY=", "odd", "=x",
		"SHIM_DEPTH=1", "SHIM_ORIGINAL_PATH=/bin", "SHIM_FSYNC=1",
	}, "/h/.substrate/shims")
	wantValues := map[string]string{
		"PATH": "/bin:/sbin::x", "HOME": "/h", "SHELL": "/s", "USER": "u", "LOGNAME": "l", "LANG": "C",
		"LC_ALL": "C", "LC_X": "\xff", "TERM": "t", "TZ": "z", "RUST_LOG": "r", "SUBSTRATE_LOG": "s",
	}
	if diff := cmp.Diff(wantValues, values); diff != "" {
		t.Errorf("by value (-want +got):\n%s", diff)
	}
	wantHashes := map[string]string{"LANGUAGE": HashValue("LANGUAGE", "de"), "TOKEN": "ba", "EMPTY": "e3b0c44298fc1c14", "SHIM_FSYNC": HashValue("SHIM_FSYNC", "1")}
	if diff := cmp.Diff(wantHashes, hashes); diff != "" {
		t.Errorf("by hash (-want +got):\n%s", diff)
	}
}

func TestOneWarning(t *testing.T) { // REC9
	dir := t.TempDir()
	for name, cfg := range map[string]config.Config{
		"no place": {}, "a directory": {Trace: dir}, "below a file": {Trace: "/etc/passwd/x"}, "a device": {Trace: "/dev/full"},
	} {
		var warnings []error
		s := New(cfg, func(err error) { warnings = append(warnings, err) }).Begin(Command{Cwd: "/"})
		s.End(trace.Completion{})
		if len(warnings) != 1 || s.ID() == "" {
			t.Errorf("%s: warnings %v, want one", name, warnings)
		}
		if cfg.Trace == "" && !errors.Is(warnings[0], errNoPlace) {
			t.Errorf("%s: warning %v", name, warnings[0])
		}
	}
}

func TestWritesAgainAfterATroubleIsOver(t *testing.T) { // REC9
	cfg := testConfig(t)
	if err := os.Mkdir(cfg.Trace, 0o700); err != nil {
		t.Fatal(err)
	}
	warnings := 0
	s := New(cfg, func(error) { warnings++ }).Begin(Command{Component: trace.ComponentShell, Cwd: "/"})
	if err := os.Remove(cfg.Trace); err != nil {
		t.Fatal(err)
	}
	s.End(trace.Completion{Exit: 3})
	if lines := linesOf(t, cfg); len(lines) != 1 || lines[0].EventType != trace.EventComplete || warnings != 1 {
		t.Errorf("the trace holds %+v after %d warnings, want a complete line", lines, warnings)
	}
}

func TestScript(t *testing.T) { // REC2
	dir := t.TempDir()
	for _, size := range []int{0, 5, maxScriptText - 1, maxScriptText, maxScriptText + 1, 3 * maxScriptText} {
		path := filepath.Join(dir, fmt.Sprint(size))
		text := strings.Repeat("x", size)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Script(path)
		if err != nil || s.Path != path || s.Text != text[:min(size, maxScriptText)] || s.TextTruncated != (size > maxScriptText) || len(s.SHA256) != 64 {
			t.Errorf("Script of %d bytes: %d bytes, truncated %v, hash %s, %v", size, len(s.Text), s.TextTruncated, s.SHA256, err)
		}
	}
	for _, path := range []string{dir, "/no/such", "/dev/null"} {
		if s, err := Script(path); err == nil || s == nil || s.Path != path || s.SHA256 != "" {
			t.Errorf("Script(%q) = %+v, %v", path, s, err)
		}
	}
}

func BenchmarkSpan(b *testing.B) {
	cfg := config.Config{Trace: filepath.Join(b.TempDir(), "trace.jsonl"), AgentID: "human"}
	env := os.Environ()
	r := New(cfg, func(err error) { b.Fatal(err) })
	for b.Loop() {
		s := r.Begin(Command{Component: trace.ComponentShell, Cmd: "true", Shell: "/bin/bash", ShellArgs: []string{"-c", "true"}, Umask: UmaskUnknown, Env: env})
		_ = s.Environ(env)
		s.End(trace.Completion{})
	}
}
