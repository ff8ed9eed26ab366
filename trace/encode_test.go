package trace_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"substrate/fsdiff"
	"substrate/internal/tracecheck"
	"substrate/trace"
)

// fullRecord returns a record with all fields.
func fullRecord() *trace.Record {
	diff := fsdiff.New("/src", "overlay", 0)
	diff.Add("/src/new <&>", fsdiff.Create, fsdiff.Meta{FileType: fsdiff.File, Mode: "0644", Size: 5}, nil)
	diff.Add("/src/bad\xff", fsdiff.Delete, fsdiff.Meta{FileType: fsdiff.Dir, Mode: "0755"}, nil)
	r := testStart("printf '<&>\\n\t\x01\u2028é🙂'")
	r.TraceSchemaVersion, r.TS = 1, "2025-09-10T02:20:33.000000001Z"
	r.EventType, r.Component = trace.EventComplete, trace.ComponentReplay
	r.Argv = []string{"printf", "", "a b"}
	r.Script = &trace.Script{Path: "x.sh", SHA256: strings.Repeat("ab", 32), Text: "true\n", TextTruncated: true}
	r.ParentSpan, r.ReplayOf, r.Caller, r.CallStack, r.Depth = trace.NewSpanID(), trace.NewSpanID(), "make", []string{"make", "git"}, 2
	r.ResolvedPath = "/usr/bin/printf"
	r.Completion = &trace.Completion{
		Exit: 143, TermSignal: 15, DurationMS: 12, Usage: trace.Usage{UserMS: 1, SysMS: 2, MaxRSSKB: 3},
		CPUMS: 7, MemoryPeakBytes: 4096, OOMKills: 1, SetupUS: 5, TeardownUS: 6, Capture: &trace.Capture{
			Stdout: trace.Stream{SHA256: strings.Repeat("ab", 32), Bytes: 1 << 20, Path: "captures/x.stdout", Truncated: true},
			Stderr: trace.Stream{SHA256: strings.Repeat("cd", 32)},
		},
		ScopesUsed: []string{"fs.write:/src/new <&>", "net.block:[2001:db8::1]:443/tcp"}, FSDiff: diff.Finish(),
		DegradedComponents: []string{"cgroup"},
		ReplayContext: &trace.ReplayContext{
			Mode: "bash -c", World: true, Argv: []string{"/bin/bash", "-c", "x"}, StdinPath: "/dev/null",
			Verdict: &trace.Verdict{
				Result: "differs", Exit: "same", Stdout: "not recorded", Stderr: "not recorded",
				Files: "differ", Environment: []string{"EDITOR"},
			},
		},
		WorldID: "wld_0123456789abcdef0123456789abcdef", FSStrategy: "overlay", FSFallbackReasons: []string{"none"},
	}
	return r
}

// TRC4: writing and reading a record changes no byte of it.
func TestRoundTrip(t *testing.T) {
	odd := testStart("echo \xff\xfe 'é'")
	odd.TraceSchemaVersion, odd.TS = 1, trace.FormatTime(testTime)
	odd.ShellArgs = []string{"-c", odd.Cmd, ""}
	odd.Argv = []string{"echo", "\xff", ""}
	odd.Cwd = "/home/u/caf\xe9"
	odd.ResolvedPath = "/opt/caf\xe9/echo"
	odd.Env["PATH"] = "/opt/\xe9/bin:/bin"
	odd.Script = &trace.Script{Path: "\xe9.sh", Text: "echo \xe9\n"}
	for name, want := range map[string]*trace.Record{"full": fullRecord(), "start": stamped(testStart("true")), "not UTF-8": odd} {
		line := trace.AppendJSON(nil, want)
		problems, err := tracecheck.Validate(bytes.NewReader(line))
		if err != nil || len(problems) > 0 {
			t.Errorf("%s: %v %v in %s", name, problems, err, line)
		}
		got, err := trace.Decode(line)
		if err != nil {
			t.Fatalf("%s: Decode: %v", name, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: (-written +read)\n%s", name, diff)
		}
		var viaJSON trace.Record
		text, err := json.Marshal(want)
		must(t, err)
		must(t, json.Unmarshal(text, &viaJSON))
		if diff := cmp.Diff(want, &viaJSON); diff != "" {
			t.Errorf("%s through encoding/json: (-written +read)\n%s", name, diff)
		}
	}
}

// AppendJSON writes every field of a Record.
func TestAppendJSONWritesEveryField(t *testing.T) {
	type plain trace.Record // encoding/json by its tags
	want, err := json.Marshal((*plain)(fullRecord()))
	must(t, err)
	got := trace.AppendJSON(nil, fullRecord())
	var wantMap, gotMap map[string]any
	must(t, json.Unmarshal(want, &wantMap))
	must(t, json.Unmarshal(got, &gotMap))
	for _, volatile := range []string{"span_id", "parent_span", "replay_of", "world_id"} {
		delete(wantMap, volatile)
		delete(gotMap, volatile)
	}
	if diff := cmp.Diff(wantMap, gotMap); diff != "" {
		t.Errorf("(-encoding/json +AppendJSON)\n%s", diff)
	}
}

// TRC2: every program reads a line as one line.
func TestAppendJSONHasNoNewline(t *testing.T) {
	r := testComplete(testStart("printf 'a\n\u2028b\r'"))
	if line := trace.AppendJSON(nil, r); bytes.ContainsAny(line, "\n\r\u2028") {
		t.Errorf("AppendJSON = %q", line)
	}
}

// FuzzAppendJSON compares the hand-written encoder with encoding/json.
func FuzzAppendJSON(f *testing.F) {
	f.Add("echo hi", "/src", "PATH", "/bin", "scope", 3, int64(4), true)
	f.Add("\xff\x00\u2028\"\\\r\n\t\x7f", "<&>", "é", "\xc3", "\ufffd", -1, int64(-1), false)
	f.Fuzz(func(t *testing.T, cmd, cwd, name, value, item string, n int, big int64, complete bool) {
		r := &trace.Record{
			TraceSchemaVersion: n, Cmd: cmd, Cwd: cwd, Argv: []string{cmd, item}, ShellArgs: []string{item}, Depth: n,
			Env: map[string]string{name: value}, EnvHashes: map[string]string{name: item}, Caller: item, CallStack: []string{value},
			Script: &trace.Script{Path: cwd, Text: value, SHA256: item, TextTruncated: complete},
		}
		if complete {
			r.Completion = &trace.Completion{
				Exit: n, DurationMS: big, ScopesUsed: []string{item}, DegradedComponents: []string{},
				ReplayContext: &trace.ReplayContext{Mode: value, Argv: []string{item}, Verdict: &trace.Verdict{Files: item}},
			}
		}
		type plain trace.Record
		withB64 := *r
		withB64.CmdB64, withB64.CwdB64 = b64(cmd), b64(cwd)
		withB64.ArgvB64, withB64.ShellArgsB64 = b64List(r.Argv), b64List(r.ShellArgs)
		script := *r.Script
		script.PathB64, script.TextB64 = b64(cwd), b64(value)
		withB64.Script = &script
		if b64(value) != "" {
			withB64.EnvB64 = map[string]string{name: b64(value)}
		}
		wantText, err := json.Marshal((*plain)(&withB64))
		must(t, err)
		var want, got plain
		must(t, json.Unmarshal(wantText, &want))
		gotText := trace.AppendJSON(nil, r)
		if err := json.Unmarshal(gotText, &got); err != nil {
			t.Fatalf("AppendJSON = %q: %v", gotText, err)
		}
		if !reflect.DeepEqual(&want, &got) {
			t.Fatalf("(-encoding/json +AppendJSON)\n%s", cmp.Diff(&want, &got))
		}
	})
}

// b64 returns the value of a B64 field: "" for UTF-8.
func b64(s string) string {
	if strings.ToValidUTF8(s, "") == s {
		return ""
	}
	return base64.StdEncoding.EncodeToString([]byte(s))
}

func b64List(list []string) []string {
	all := make([]string, 0, len(list))
	bad := false
	for _, s := range list {
		bad = bad || b64(s) != ""
		all = append(all, base64.StdEncoding.EncodeToString([]byte(s)))
	}
	if !bad {
		return nil
	}
	return all
}
