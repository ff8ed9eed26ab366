package replay

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"path"
	"time"
	"unicode/utf8"

	"substrate/fsdiff"
	"substrate/internal/world"
	"substrate/trace"
)

// SchemaVersion is the value of replay_schema_version in every Report.
const SchemaVersion = 1

//go:embed schema.json
var schema []byte

// Schema returns the JSON Schema (2020-12) of a Report.
func Schema() []byte { return schema }

// Usage is what the command and its children used.
type Usage struct {
	trace.Usage
	CPUMS           int64 `json:"cpu_ms"`            // of the whole cgroup; 0 if unknown
	MemoryPeakBytes int64 `json:"memory_peak_bytes"` // of the whole cgroup; 0 if unknown
	OOMKills        int   `json:"oom_kills"`         // 0 if none or unknown
}

// Report is what --json prints about one run of a command, replayed or new.
type Report struct {
	Version    int     `json:"replay_schema_version"`
	SpanID     string  `json:"span_id"`   // of this run
	ReplayOf   *string `json:"replay_of"` // null for a new command
	Cmd        string  `json:"cmd"`
	Cwd        string  `json:"cwd"`
	Mode       string  `json:"mode"`
	Exit       int     `json:"exit"`
	TermSignal int     `json:"term_signal"` // 0 for none
	TimedOut   bool    `json:"timed_out"`
	DurationMS int64   `json:"duration_ms"`

	WorldID           *string      `json:"world_id"`    // null on the host
	FSStrategy        *string      `json:"fs_strategy"` // null on the host
	FSFallbackReasons []string     `json:"fs_fallback_reasons"`
	FSDiff            *fsdiff.Diff `json:"fs_diff"` // null if there was no isolated view
	ScopesUsed        []string     `json:"scopes_used"`
	Degraded          []string     `json:"degraded_components"`
	Usage             Usage        `json:"usage"`

	Capture    *trace.Capture `json:"capture"` // null if what the command printed was not recorded
	Verdict    *trace.Verdict `json:"verdict"` // null for a new command
	StdoutPath string         `json:"stdout_path"`
	StderrPath string         `json:"stderr_path"`
}

// Outcome is one recorded run of a plan. It has two views: [Outcome.Report] for programs, and a
// text for people.
type Outcome struct {
	SpanID string           // of this run
	Cmd    string           // as the trace has it, without secrets
	Plan   Plan             // what was run, with its secrets
	Was    *trace.Record    // the span that was replayed, its secrets in place; nil for a new command
	Result *world.Result    // with secrets
	Done   trace.Completion // as the trace has it, without secrets
	Stdout string           // file with what the command printed; "" if it printed where we do
	Stderr string

	Mask func(string) string // takes the secrets of the run out of a text about it
}

// Verdict is how the run compares with the recorded one; nil for a new command.
func (o *Outcome) Verdict() *trace.Verdict {
	if o.Done.ReplayContext == nil {
		return nil
	}
	return o.Done.ReplayContext.Verdict
}

// Report is the outcome as --json prints it, without secrets.
func (o *Outcome) Report() *Report {
	done := &o.Done
	return &Report{
		Version:           SchemaVersion,
		SpanID:            o.SpanID,
		ReplayOf:          orNull(o.Plan.ReplayOf),
		Cmd:               o.Cmd,
		Cwd:               o.Mask(o.Plan.Cwd),
		Mode:              o.Mask(o.Plan.Mode),
		Exit:              done.Exit,
		TermSignal:        done.TermSignal,
		TimedOut:          o.Result.TimedOut,
		DurationMS:        done.DurationMS,
		WorldID:           orNull(done.WorldID),
		FSStrategy:        orNull(done.FSStrategy),
		FSFallbackReasons: append([]string{}, done.FSFallbackReasons...),
		FSDiff:            done.FSDiff,
		ScopesUsed:        done.ScopesUsed,
		Degraded:          done.DegradedComponents,
		Usage:             Usage{Usage: done.Usage, CPUMS: done.CPUMS, MemoryPeakBytes: done.MemoryPeakBytes, OOMKills: done.OOMKills},
		Capture:           done.Capture,
		Verdict:           o.Verdict(),
		StdoutPath:        o.Stdout,
		StderrPath:        o.Stderr,
	}
}

// JSON is the report as one object and a newline.
func (r *Report) JSON() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(r); err != nil {
		return nil, fmt.Errorf("encode the report: %w", err)
	}
	return b.Bytes(), nil
}

// orNull returns nil for "", which is null in JSON.
func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// Degraded returns the names for degraded_components, each once; never nil.
func Degraded(res *world.Result) []string {
	names := []string{}
	seen := map[string]bool{}
	for _, d := range res.Degraded {
		if !seen[d.Name] {
			seen[d.Name] = true
			names = append(names, d.Name)
		}
	}
	return names
}

// Scopes returns scopes_used (TRC5): the absolute paths that the command changed, and the addresses
// and names that it could not reach; never nil.
func Scopes(cwd string, res *world.Result) []string {
	scopes := []string{}
	if res.Diff != nil {
		for i := range res.Diff.Entries {
			e := &res.Diff.Entries[i]
			verb := "fs.write:"
			if e.Kind == fsdiff.Delete {
				verb = "fs.delete:"
			}
			scopes = append(scopes, verb+jsonText(absolute(cwd, e.Raw())))
		}
	}
	for _, b := range res.Blocked {
		scopes = append(scopes, "net.block:"+b.String())
	}
	for _, name := range res.Lookups {
		scopes = append(scopes, "net.block:"+jsonText(name)+":53/udp")
	}
	return scopes
}

// absolute is the absolute path of a diff entry.
func absolute(root, p string) string {
	if path.IsAbs(p) {
		return p
	}
	return path.Join(root, p)
}

// jsonText escapes a path that is not UTF-8, which JSON cannot hold. fs_diff has the exact bytes.
func jsonText(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return fsdiff.Escape(s)
}

// mtimeSlack is how much earlier the time of a file may be than the start of the command that made
// it: the kernel uses the time of its last tick.
const mtimeSlack = 20 * time.Millisecond

// StillThere returns a changed path that is still as the recorded run left it; "" if there is none.
// The replay shows it as modified although the recorded run may have created it (RPL6).
func StillThere(span trace.Record, res *world.Result) string {
	if res.Diff == nil || span.Completion == nil {
		return ""
	}
	end, err := time.Parse(time.RFC3339Nano, span.TS)
	if err != nil {
		return ""
	}
	start := end.Add(-time.Duration(span.DurationMS)*time.Millisecond - time.Millisecond - mtimeSlack)
	for i := range res.Diff.Entries {
		e := &res.Diff.Entries[i]
		if e.Kind != fsdiff.Modify || e.Before == nil {
			continue
		}
		t, err := time.Parse(time.RFC3339Nano, e.Before.Mtime)
		if err == nil && t.After(start) && t.Before(end) {
			return e.Raw()
		}
	}
	return ""
}
