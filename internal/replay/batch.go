package replay

import _ "embed"

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

// BatchSpan is one span of a Batch and what became of it.
type BatchSpan struct {
	SpanID   string    `json:"span_id"`
	Cmd      string    `json:"cmd"`                // as the trace has it, without secrets
	Status   string    `json:"status"`             // same, differs, not recorded, unstable, skipped or failed
	Reason   string    `json:"reason,omitempty"`   // why it was skipped or failed, what differs, or that only the exit code is the same
	Unstable []string  `json:"unstable,omitempty"` // what was not the same in each of several replays
	Replays  []*Report `json:"replays"`            // those that were carried out; never nil
}
