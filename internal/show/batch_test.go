package show

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"substrate/internal/replay"
	"substrate/trace"
)

// sampleBatch has a span of each status.
func sampleBatch() replay.Batch {
	report := func(stdout string) *replay.Report {
		o := sample(sampleResult(), recorded(0))
		v := &trace.Verdict{Result: replay.Same, Exit: replay.Same, Stdout: stdout, Stderr: replay.NotRecorded, Files: replay.NotRecorded}
		if stdout != replay.Same && stdout != replay.NotRecorded {
			v.Result = replay.Different
		}
		o.Done.ReplayContext.Verdict = v
		return o.Report()
	}
	var spans []*replay.BatchSpan
	add := func(reports ...*replay.Report) *replay.BatchSpan {
		s := &replay.BatchSpan{SpanID: "spn_" + "0123456789abcdef0123456789abcdef", Cmd: "x", Replays: reports}
		s.Status, s.Reason, s.Unstable = replay.Sum(reports)
		spans = append(spans, s)
		return s
	}
	nothing := report(replay.NotRecorded)
	nothing.Verdict.Result, nothing.Verdict.Exit = replay.NotRecorded, replay.NotRecorded
	other := report(replay.Same)
	other.Exit = 1
	add(report(replay.Same))
	add(report(replay.NotRecorded))
	add(report("recorded 6 bytes, now 7"))
	add(nothing)
	add(report(replay.Same), other)
	skipped := add()
	skipped.Replays, skipped.Status, skipped.Reason = []*replay.Report{}, replay.Skipped, "gone"
	failed := add(report(replay.Same))
	failed.Status, failed.Reason = replay.Failed, "not run: interrupt"
	return replay.NewBatch(spans)
}

// RPL12: the JSON of many replays fits its schema, whatever became of them; the schema refuses
// documents that are wrong.
func TestBatchJSON(t *testing.T) {
	schema := compiled(t, "urn:substrate:schema:replay-batch:1")
	refusal := func(text []byte) error {
		t.Helper()
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		return schema.Validate(doc)
	}
	object := sampleBatch()
	for _, status := range []string{replay.Same, replay.Different, replay.NotRecorded, replay.NotStable, replay.Skipped, replay.Failed} {
		if object.Counts[status] == 0 {
			t.Errorf("no row is %q", status)
		}
	}
	text, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	if err := refusal(text); err != nil {
		t.Errorf("%v\n%s", err, text)
	}
	empty, err := json.Marshal(replay.NewBatch(nil))
	if err != nil {
		t.Fatal(err)
	}
	if err := refusal(empty); err != nil {
		t.Errorf("%v\n%s", err, empty)
	}
	for from, to := range map[string]string{
		`"replay_batch_schema_version":1`:                 `"replay_batch_schema_version":2`,
		`"status":"same"`:                                 `"status":"fine"`,
		`"status":"unstable"`:                             `"status":"same"`,
		`"reason":"not run: interrupt",`:                  ``,
		`"status":"skipped","reason":"gone"`:              `"status":"not recorded"`,
		`"status":"failed"`:                               `"status":"skipped"`,
		`"replays":[]`:                                    `"replays":null`,
		`"replay_schema_version":1`:                       `"replay_schema_version":2`,
		`"counts":{"differs":1,"failed":1,`:               `"counts":{"differs":1,`,
		`"cmd":"x","status":"differs"`:                    `"cmd":"x","left":1,"status":"differs"`,
		`"spans":[{"span_id":"spn_0123456789abcdef012345`: `"spans":[{"cmd":"x","span":"spn_0123456789abcdef012345`,
	} {
		odd := bytes.Replace(text, []byte(from), []byte(to), 1)
		if bytes.Equal(odd, text) {
			t.Fatalf("no %s in %s", from, text)
		}
		if refusal(odd) == nil {
			t.Errorf("the schema accepts %s in the place of %s", to, from)
		}
	}
}
