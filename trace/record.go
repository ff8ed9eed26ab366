// Package trace reads and writes the trace, the file that holds the spans: one JSON object per
// line.
//
// A span is the record of one command. Its start line is written before the command runs. Its
// complete line has the same span id and is written after the command ended. All writers use
// [Append]. Readers also accept lines of other versions and other programs, as far as they can
// decode them. Package record decides what a span contains. This package builds on every system.
//
// Lines and ids are made by hand: each command writes two lines, for which encoding/json takes
// about three times as long, and google/uuid needs 237 ns for an id that takes 141 ns here.
package trace

import (
	"substrate/fsdiff"
	"substrate/internal/plain"
)

// SchemaVersion is the value of trace_schema_version in every line that this version writes.
const SchemaVersion = plain.SchemaVersion

// The event types of a span's two lines.
const (
	EventStart    = plain.EventStart
	EventComplete = plain.EventComplete
)

// The components that write spans.
const (
	ComponentShell  = plain.ComponentShell
	ComponentShim   = plain.ComponentShim
	ComponentReplay = "replay"
	ComponentWorld  = "world"
)

// Script is a script that was run by name (REC2).
type Script struct {
	Path          string `json:"path"`
	PathB64       string `json:"path_b64,omitempty"`
	SHA256        string `json:"sha256"`         // hex, of the whole file
	Text          string `json:"text,omitempty"` // at most 64 KiB; base64 in text_b64 if not UTF-8
	TextB64       string `json:"text_b64,omitempty"`
	TextTruncated bool   `json:"text_truncated,omitempty"`
}

// ReplayContext describes how a replay was started.
type ReplayContext struct {
	Mode      string   `json:"mode"` // "bash -c", "bash -lc", "argv" …
	World     bool     `json:"world"`
	Argv      []string `json:"argv,omitempty"` // as executed
	StdinPath string   `json:"stdin_path,omitempty"`
	Verdict   *Verdict `json:"verdict,omitempty"`
}

// Verdict compares a replay with the span that it replayed. Each field is "same", "not recorded",
// or a description of the difference.
type Verdict struct {
	Result      string   `json:"result"` // "same", "differs" or "not recorded"
	Exit        string   `json:"exit"`
	Stdout      string   `json:"stdout"`
	Stderr      string   `json:"stderr"`
	Files       string   `json:"files"`
	Environment []string `json:"environment,omitempty"` // names of variables that differed from the recorded run
	Previous    *Replay  `json:"previous,omitempty"`    // nil if this is the first replay
}

// Replay compares a replay with the previous replay of the same span, in the words of a [Verdict].
type Replay struct {
	SpanID string `json:"span_id"`
	Result string `json:"result"`
	Exit   string `json:"exit"`
	Stdout string `json:"stdout"`
	Stderr string `json:"stderr"`
	Files  string `json:"files"`
}

// Capture is what a command printed. It is recorded only on request (REC7).
type Capture struct {
	Stdout Stream `json:"stdout"`
	Stderr Stream `json:"stderr"`
}

// Stream is what was written to one file descriptor.
type Stream struct {
	SHA256    string `json:"sha256"`         // hex, of all bytes
	Bytes     int64  `json:"bytes"`          // all, including those that were not kept
	Path      string `json:"path,omitempty"` // of the file with the first bytes, relative to the trace's directory; "" if none were kept
	Truncated bool   `json:"truncated,omitempty"`
}

// Usage is what a command consumed.
type Usage struct {
	UserMS   int64 `json:"user_ms"`
	SysMS    int64 `json:"sys_ms"`
	MaxRSSKB int64 `json:"max_rss_kb"`
}

// Record is one line. A complete line repeats the start line, so that it is enough after compaction
// dropped the start line.
//
// In memory each string holds the exact bytes, UTF-8 or not. The fields that end in B64 are only
// for the JSON: [AppendJSON] writes them where they are needed, and [Decode] moves their bytes to
// the fields they belong to and empties them. The B64 form of a list has all its elements, that of
// a map only those that are not UTF-8. Do not embed a Record in another struct: its MarshalJSON
// would hide the other fields.
type Record struct {
	TraceSchemaVersion int    `json:"trace_schema_version"`
	TS                 string `json:"ts"` // RFC 3339, UTC, nanoseconds: when this line was written
	EventType          string `json:"event_type"`
	SessionID          string `json:"session_id"`
	Component          string `json:"component"`

	SpanID          string            `json:"span_id"`     // spn_ and 32 hex digits of a UUIDv7
	ParentSpan      string            `json:"parent_span"` // "" for none
	Cmd             string            `json:"cmd"`
	CmdB64          string            `json:"cmd_b64,omitempty"` // the bytes of cmd if they are not UTF-8
	Argv            []string          `json:"argv,omitempty"`    // only if an argv was executed
	ArgvB64         []string          `json:"argv_b64,omitempty"`
	ResolvedPath    string            `json:"resolved_path,omitempty"` // of a shim: the program that was executed
	ResolvedPathB64 string            `json:"resolved_path_b64,omitempty"`
	Shell           string            `json:"shell,omitempty"`      // path of the shell
	ShellArgs       []string          `json:"shell_args,omitempty"` // all arguments after argv[0] as used, including the command
	ShellArgsB64    []string          `json:"shell_args_b64,omitempty"`
	Script          *Script           `json:"script,omitempty"`
	Cwd             string            `json:"cwd"`
	CwdB64          string            `json:"cwd_b64,omitempty"`
	Umask           string            `json:"umask,omitempty"` // octal, "0022"
	Env             map[string]string `json:"env,omitempty"`   // the variables of RPL3
	EnvB64          map[string]string `json:"env_b64,omitempty"`
	EnvHashes       map[string]string `json:"env_hashes,omitempty"`
	AgentID         string            `json:"agent_id"`
	Host            string            `json:"host"`
	UID             int               `json:"uid"`
	GID             int               `json:"gid"`
	PID             int               `json:"pid"`
	Depth           int               `json:"depth,omitempty"`
	Caller          string            `json:"caller,omitempty"`
	CallStack       []string          `json:"call_stack,omitempty"`
	ReplayOf        string            `json:"replay_of,omitempty"`
	Secrets         int               `json:"secrets,omitempty"` // how many values were replaced by ‹secret:1› …

	*Completion // nil in a start line
}

// Completion is what a complete line adds to the start line.
type Completion struct {
	Exit       int   `json:"exit"`
	TermSignal int   `json:"term_signal,omitempty"` // the number of the signal that killed the command, 0 for none
	DurationMS int64 `json:"duration_ms"`
	Usage
	CPUMS              int64          `json:"cpu_ms,omitempty"`            // of a world: of all its processes together; 0 if unknown
	MemoryPeakBytes    int64          `json:"memory_peak_bytes,omitempty"` // of a world: of all its processes together; 0 if unknown
	OOMKills           int            `json:"oom_kills,omitempty"`         // of a world: processes that its memory limit killed
	Capture            *Capture       `json:"capture,omitempty"`           // nil if it was not requested
	ScopesUsed         []string       `json:"scopes_used"`                 // never nil
	FSDiff             *fsdiff.Diff   `json:"fs_diff"`                     // null if there was no isolated view
	DegradedComponents []string       `json:"degraded_components"`
	ReplayContext      *ReplayContext `json:"replay_context"`
	WorldID            string         `json:"world_id,omitempty"`
	FSStrategy         string         `json:"fs_strategy,omitempty"`
	SetupUS            int64          `json:"world_setup_us,omitempty"`    // of a world: until the command was started
	TeardownUS         int64          `json:"world_teardown_us,omitempty"` // of a world: from the end of the command until the world was removed, including the diff
	FSFallbackReasons  []string       `json:"fs_fallback_reasons,omitempty"`
}
