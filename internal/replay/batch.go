package replay

import (
	_ "embed"
	"strings"
)

// BatchSchemaVersion is the value of replay_batch_schema_version in every Batch.
const BatchSchemaVersion = 1

//go:embed batch_schema.json
var batchSchema []byte

// BatchSchema returns the JSON Schema (2020-12) of a Batch. It refers to that of a Report.
func BatchSchema() []byte { return batchSchema }

// Batch is what --json prints of the replays of many spans (RPL12).
type Batch struct {
	Version int            `json:"replay_batch_schema_version"`
	Spans   []*BatchSpan   `json:"spans"`  // oldest first; never nil
	Counts  map[string]int `json:"counts"` // of each status, also of those that no span has
}

// BatchSpan is one span of a Batch and its result.
type BatchSpan struct {
	SpanID   string    `json:"span_id"`
	Cmd      string    `json:"cmd"`                // as the trace has it, without secrets
	Status   string    `json:"status"`             // same, differs, not recorded, unstable, skipped or failed
	Reason   string    `json:"reason,omitempty"`   // why it was skipped or failed, what differs, or that only the exit code is the same
	Unstable []string  `json:"unstable,omitempty"` // what was not the same in each of several replays
	Replays  []*Report `json:"replays"`            // those that were carried out; never nil
}

// NewBatch makes a batch of spans, which are oldest first.
func NewBatch(spans []*BatchSpan) Batch {
	b := Batch{
		Version: BatchSchemaVersion, Spans: append([]*BatchSpan{}, spans...),
		Counts: map[string]int{Same: 0, Different: 0, NotRecorded: 0, NotStable: 0, Skipped: 0, Failed: 0},
	}
	for _, s := range spans {
		b.Counts[s.Status]++
	}
	return b
}

// Sum sums up the replays of one span.
func Sum(replays []*Report) (status, reason string, unstable []string) {
	status = NotRecorded
	for _, r := range replays {
		v := r.Verdict
		switch {
		case v == nil:
		case Differs(v):
			status, reason = Different, Describe(v)
		case v.Result == Same && status == NotRecorded:
			status = Same
			if v.Stdout == NotRecorded && v.Stderr == NotRecorded && v.Files == NotRecorded {
				reason = "only the exit code was recorded"
			}
		}
	}
	if unstable = Unstable(replays); len(unstable) > 0 {
		return NotStable, "not the same each time: " + strings.Join(unstable, ", "), unstable
	}
	return status, reason, nil
}

// Unstable names what differed between several replays of one span: exit code, stdout, stderr,
// files.
func Unstable(reports []*Report) []string {
	var names []string
	seen := map[string]bool{}
	note := func(name, part string) {
		if part != Same && part != NotRecorded && !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	for i := 1; i < len(reports); i++ {
		exit, stdout, stderr, files := parts("before", reports[0].run(), reports[i].run())
		note("exit code", exit)
		note("stdout", stdout)
		note("stderr", stderr)
		note("files", files)
	}
	return names
}

// run is the part of a report that is compared.
func (r *Report) run() *Run {
	return &Run{Exit: r.Exit, TermSignal: r.TermSignal, Capture: r.Capture, FSDiff: r.FSDiff}
}
