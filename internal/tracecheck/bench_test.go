package tracecheck

import (
	"bytes"
	"testing"

	"substrate/trace"
)

// BenchmarkValidate checks two thousand ordinary lines.
func BenchmarkValidate(b *testing.B) {
	var text []byte
	for range 2000 {
		r := trace.Record{
			TraceSchemaVersion: 1, TS: "2025-09-10T02:20:33.000000001Z", EventType: trace.EventStart, SessionID: trace.NewSessionID(),
			Component: trace.ComponentShell, SpanID: trace.NewSpanID(), Cmd: "make test", Shell: "/bin/bash", ShellArgs: []string{"-c", "make test"},
			Cwd: "/src", Umask: "0022", Env: map[string]string{"PATH": "/usr/bin:/bin", "HOME": "/home/u", "LANG": "C.UTF-8"},
			EnvHashes: map[string]string{"EDITOR": "0123456789abcdef", "PAGER": "0123456789abcdef"}, AgentID: "human", Host: "box", PID: 1,
		}
		text = append(trace.AppendJSON(text, &r), '\n')
	}
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if problems, err := Validate(bytes.NewReader(text)); err != nil || len(problems) > 0 {
			b.Fatal(problems, err)
		}
	}
}
