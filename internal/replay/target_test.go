package replay

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"substrate/trace"
)

// writeTrace makes a trace of these lines.
func writeTrace(t *testing.T, lines string) *trace.Reader {
	t.Helper()
	path := filepath.Join(t.TempDir(), "trace.jsonl")
	if err := os.WriteFile(path, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	return &trace.Reader{Path: path}
}

const oddTrace = `
{"trace_schema_version":1,"event_type":"command_start","span_id":"spn_a1","cmd":"one","component":"shell"}
{"trace_schema_version":1,"event_type":"command_complete","span_id":"spn_a1","cmd":"one","component":"shell","exit":0}
{"trace_schema_version":1,"event_type":"command_complete","span_id":"spn_b2","cmd":"one","component":"replay","replay_of":"spn_a1","exit":0}
{"trace_schema_version":1,"event_type":"command_complete","span_id":"spn_b3","cmd":"one","component":"replay","replay_of":"spn_b2","exit":0}
{"trace_schema_version":1,"event_type":"command_complete","span_id":"spn_c1","cmd":"x","component":"replay","replay_of":"spn_c1","exit":0}
{"event_type":"command_start","span_id":"foreign","cmd":"ls","cwd":"/"}
{"event_type":"command_complete","span_id":"foreign","exit":4}
`

// RPL11: replaying a replay runs the command that it replayed.
func TestTarget(t *testing.T) {
	r := writeTrace(t, oddTrace)
	for _, ref := range []string{"spn_a1", "a1", "spn_b2", "b3"} {
		got, err := Target(r, ref)
		if err != nil || got.SpanID != "spn_a1" || got.Completion == nil {
			t.Errorf("Target(%q) = %s, %v, want spn_a1 complete", ref, got.SpanID, err)
		}
	}
	got, err := Target(r, "foreign")
	if err != nil || got.Cmd != "ls" || got.Completion == nil || got.Exit != 4 {
		t.Errorf("Target(foreign) = %+v, %v, want both lines joined", got, err)
	}
}

// RPL1, WLD6: unknown ids are refused, also those that look like paths.
func TestTargetRefuses(t *testing.T) {
	r := writeTrace(t, oddTrace)
	for ref, want := range map[string]error{
		"../../etc": trace.ErrNotFound, "": trace.ErrNotFound, "spn_zz": trace.ErrNotFound,
		"spn_b": trace.ErrAmbiguous, "last~99": trace.ErrNotFound,
	} {
		_, err := Target(r, ref)
		var refused *Error
		if !errors.Is(err, want) || !errors.As(err, &refused) || refused.Hint == "" {
			t.Errorf("Target(%q) = %v, want %v with a hint", ref, err, want)
		}
	}
	if _, err := Target(r, "spn_c1"); err == nil {
		t.Error("Target of a span that replays itself gave no error")
	}
	if _, err := Target(&trace.Reader{Path: filepath.Join(t.TempDir(), "none", "trace")}, "last"); !errors.Is(err, trace.ErrNotFound) {
		t.Errorf("Target without a trace = %v, want %v", err, trace.ErrNotFound)
	}
}
