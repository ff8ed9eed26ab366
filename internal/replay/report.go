package replay

import (
	_ "embed"
	"path"
	"time"
	"unicode/utf8"

	"substrate/fsdiff"
	"substrate/internal/record"
	"substrate/internal/world"
	"substrate/trace"
)

// SchemaVersion is the value of replay_schema_version in every Report.
const SchemaVersion = 1

//go:embed schema.json
var schema []byte

// Schema returns the JSON Schema (2020-12) of a Report.
func Schema() []byte { return schema }

// Usage is what the command and its children consumed.
type Usage struct {
	trace.Usage
	CPUMS           int64 `json:"cpu_ms"`            // of the whole cgroup; 0 if unknown
	MemoryPeakBytes int64 `json:"memory_peak_bytes"` // of the whole cgroup; 0 if unknown
	OOMKills        int   `json:"oom_kills"`         // 0 if none or unknown
}

// Report is what --json prints: one run of a command, replayed or new.
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

// NewReport puts together what is known after a run. The caller adds the verdict
// and the paths of the output.
func NewReport(spanID string, p Plan, res *world.Result) *Report {
	return &Report{
		Version:           SchemaVersion,
		SpanID:            spanID,
		ReplayOf:          orNull(p.ReplayOf),
		Cmd:               p.Cmd,
		Cwd:               p.Cwd,
		Mode:              p.Mode,
		Exit:              res.Exit,
		TermSignal:        res.Signal,
		TimedOut:          res.TimedOut,
		DurationMS:        res.Duration.Milliseconds(),
		WorldID:           orNull(res.WorldID),
		FSStrategy:        orNull(res.Strategy),
		FSFallbackReasons: append([]string{}, res.Fallbacks...),
		FSDiff:            res.Diff,
		ScopesUsed:        Scopes(p.Cwd, res),
		Degraded:          Degraded(res),
		Usage: Usage{
			Usage:           TraceUsage(res.Usage),
			CPUMS:           res.Usage.GroupCPU.Milliseconds(),
			MemoryPeakBytes: res.Usage.MemoryPeak,
			OOMKills:        res.Usage.OOMKills,
		},
	}
}

// Hide puts what the trace has, without secrets, in the place of what is known.
func (r *Report) Hide(span *record.Span, done trace.Completion) {
	r.Cmd, r.Cwd = span.Cmd(), span.Mask(r.Cwd)
	r.FSDiff, r.ScopesUsed = done.FSDiff, done.ScopesUsed
	r.Capture = done.Capture
	r.Degraded, r.FSFallbackReasons = done.DegradedComponents, append([]string{}, done.FSFallbackReasons...)
	if done.ReplayContext != nil {
		r.Mode, r.Verdict = done.ReplayContext.Mode, done.ReplayContext.Verdict
	}
}

// orNull turns the empty string into JSON's null.
func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// TraceUsage converts what a world measured into the units of a span.
func TraceUsage(u world.Usage) trace.Usage {
	return trace.Usage{
		UserMS:   u.User.Milliseconds(),
		SysMS:    u.System.Milliseconds(),
		MaxRSSKB: u.MaxRSS / 1024,
	}
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

// Scopes returns what the command used, as scopes_used holds it (TRC5): the paths that
// it changed, absolute, and the peers and names that it was refused; never nil.
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

// absolute is the path of a diff entry as a scope names it.
func absolute(root, p string) string {
	if path.IsAbs(p) {
		return p
	}
	return path.Join(root, p)
}

// jsonText escapes what a JSON string cannot hold. The exact bytes stand in fs_diff.
func jsonText(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return fsdiff.Escape(s)
}

// mtimeSlack is how far the time stamp of a file may lie before the start of the
// command that made it: the kernel stamps with the clock of its last tick.
const mtimeSlack = 20 * time.Millisecond

// StillThere returns a changed path that the recorded run itself made or changed and
// that is still as it left it, or "". The replay then shows it as modified, where the
// recorded run had created it (RPL6).
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
