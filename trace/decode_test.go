package trace_test

import (
	"errors"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"substrate/fsdiff"
	"substrate/trace"
)

// TRC10: Decode reads older and foreign lines as far as possible.
func TestDecodeForeign(t *testing.T) {
	complete := func(c trace.Completion) *trace.Completion { return &c }
	for line, want := range map[string]trace.Record{
		`{}`:                                                {},
		` {"cmd": "ls", "exit": 3} `:                        {Cmd: "ls", Completion: complete(trace.Completion{Exit: 3})},
		`{"cmd":["ls"],"cwd":"/x"}`:                         {Cwd: "/x"},
		`{"cmd":null,"pid":"12"}`:                           {},
		`{"trace_schema_version":99}`:                       {TraceSchemaVersion: 99},
		`{"trace_schema_version":"2"}`:                      {},
		`{"exit":1e99,"agent_id":"a"}`:                      {AgentID: "a"},
		`{"unknown":{"cmd":1},"gid":7}`:                     {GID: 7},
		`{"event_type":"command_start","exit":0,"cmd":"x"}`: {EventType: "command_start", Cmd: "x"},
		`{"event_type":"command_complete","exit":"no","duration_ms":5}`:                    {EventType: "command_complete", Completion: complete(trace.Completion{DurationMS: 5})},
		`{"event_type":"command_complete"}`:                                                {EventType: "command_complete", Completion: &trace.Completion{}},
		`{"event_type":"exec_end","exit":2,"fs_diff":"lost"}`:                              {EventType: "exec_end", Completion: complete(trace.Completion{Exit: 2})},
		`{"event_type":"note","duration_ms":2}`:                                            {EventType: "note"},
		`{"exit":0,"fs_diff":{"root":"/r","entries":5,"counts":{"create":2}}}`:             {Completion: complete(trace.Completion{FSDiff: &fsdiff.Diff{Root: "/r", Counts: fsdiff.Counts{Create: 2}}})},
		`{"cmd":"a","cmd_b64":"!!","argv":["x"],"argv_b64":["eA==","eA=="],"script":null}`: {Cmd: "a", Argv: []string{"x"}},
		`{"env_b64":{"A":"/w=="}}`:                                                         {},
	} {
		got, err := trace.Decode([]byte(line))
		if err != nil {
			t.Errorf("Decode(%s) = %v", line, err)
			continue
		}
		if diff := cmp.Diff(&want, got); diff != "" {
			t.Errorf("Decode(%s): (-want +got)\n%s", line, diff)
		}
	}
	for _, line := range []string{``, `null`, `[]`, `"x"`, `{"cmd":"to`, `{} {}`, "\x00\x01", `{"cmd":"x"}garbage`} {
		if got, err := trace.Decode([]byte(line)); !errors.Is(err, trace.ErrForeign) {
			t.Errorf("Decode(%q) = %v, %v, want ErrForeign", line, got, err)
		}
	}
}

// FuzzDecode searches for lines that crash a reader, and for lines that change when we write them.
func FuzzDecode(f *testing.F) {
	f.Add(trace.AppendJSON(nil, stamped(testStart("true"))))
	f.Add(trace.AppendJSON(nil, fullRecord()))
	f.Add([]byte(`{"cmd":1,"exit":"x","env_b64":{"A":"/w=="},"env":{"A":""},"script":{"text_b64":"/w=="},"fs_diff":{"entries":[{"mode":1}]}}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		first, err := trace.Decode(line)
		if err != nil {
			return
		}
		written := trace.AppendJSON(nil, first)
		second, err := trace.Decode(written)
		if err != nil {
			t.Fatalf("Decode(%q) after Decode(%q): %v", written, line, err)
		}
		again := trace.AppendJSON(nil, second)
		if !reflect.DeepEqual(written, again) {
			t.Fatalf("Decode(%q) is written\n%s and then\n%s", line, written, again)
		}
	})
}
