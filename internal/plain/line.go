package plain

import "unicode/utf8"

// SchemaVersion is the value of trace_schema_version in the lines of this version.
const SchemaVersion = 1

// The event types of a span's two lines, and the components that write them in the plain case.
const (
	EventStart     = "command_start"
	EventComplete  = "command_complete"
	ComponentShell = "shell"
	ComponentShim  = "shim"
)

// Pair is a variable with its value or its hash.
type Pair struct{ Name, Value string }

// Start is what both lines of a span say about a command. See trace.Record.
type Start struct {
	SessionID, Component, SpanID, ParentSpan string
	Cmd                                      string
	Argv                                     []string
	ResolvedPath, Shell                      string
	ShellArgs                                []string
	Script                                   []byte // JSON; nil for none
	Cwd, Umask                               string
	Env, EnvHashes                           []Pair // in the order of their names
	AgentID, Host                            string
	UID, GID, PID, Depth                     int64
	Caller                                   string
	CallStack                                []string
	ReplayOf                                 string
	Secrets                                  int64
}

// End is what a complete line says about the end of a command. See trace.Completion. What is JSON
// is nil for null; a nil Capture is left out.
type End struct {
	Exit, TermSignal, DurationMS     int64
	UserMS, SysMS, MaxRSSKB          int64
	CPUMS, MemoryPeakBytes, OOMKills int64
	Capture, FSDiff, ReplayContext   []byte // JSON
	ScopesUsed, DegradedComponents   []string
}

// Head appends the beginning of a line, up to what both lines of a span have in common.
func (b *Buffer) Head(version int64, ts, event string) *Buffer {
	return b.Byte('{').Number("trace_schema_version", version).Text("ts", ts).Text("event_type", event)
}

// Start appends the members of s.
func (b *Buffer) Start(s *Start) *Buffer {
	b.Text("session_id", s.SessionID).Text("component", s.Component)
	b.Text("span_id", s.SpanID).Text("parent_span", s.ParentSpan)
	b.Exact("cmd", s.Cmd)
	b.exactList("argv", s.Argv)
	if s.ResolvedPath != "" {
		b.Exact("resolved_path", s.ResolvedPath)
	}
	b.Optional("shell", s.Shell)
	b.exactList("shell_args", s.ShellArgs)
	b.optionalValue("script", s.Script)
	b.Exact("cwd", s.Cwd)
	b.Optional("umask", s.Umask)
	b.pairs("env", s.Env)
	b.base64Pairs("env_b64", s.Env)
	b.pairs("env_hashes", s.EnvHashes)
	b.Text("agent_id", s.AgentID).Text("host", s.Host)
	b.Number("uid", s.UID).Number("gid", s.GID).Number("pid", s.PID)
	b.OptionalNumber("depth", s.Depth)
	b.Optional("caller", s.Caller)
	b.OptionalList("call_stack", s.CallStack)
	b.Optional("replay_of", s.ReplayOf)
	return b.OptionalNumber("secrets", s.Secrets)
}

// End appends the members of e.
func (b *Buffer) End(e *End) *Buffer {
	b.Number("exit", e.Exit).OptionalNumber("term_signal", e.TermSignal).Number("duration_ms", e.DurationMS)
	b.Number("user_ms", e.UserMS).Number("sys_ms", e.SysMS).Number("max_rss_kb", e.MaxRSSKB)
	b.OptionalNumber("cpu_ms", e.CPUMS).OptionalNumber("memory_peak_bytes", e.MemoryPeakBytes)
	b.OptionalNumber("oom_kills", e.OOMKills)
	b.optionalValue("capture", e.Capture)
	b.List("scopes_used", e.ScopesUsed)
	b.value("fs_diff", e.FSDiff)
	b.List("degraded_components", e.DegradedComponents)
	return b.value("replay_context", e.ReplayContext)
}

// Key appends a comma, unless an object has just begun, the key and a colon.
func (b *Buffer) Key(key string) *Buffer {
	if b.Bytes[len(b.Bytes)-1] != '{' {
		b.Byte(',')
	}
	return b.Byte('"').Raw(key).Raw(`":`)
}

// Text appends a member whose value is a string.
func (b *Buffer) Text(key, value string) *Buffer { return b.Key(key).JSON(value) }

// Optional appends a string unless it is empty.
func (b *Buffer) Optional(key, value string) *Buffer {
	if value == "" {
		return b
	}
	return b.Text(key, value)
}

// Exact appends a string. If it is not UTF-8 its bytes follow in a second member.
func (b *Buffer) Exact(key, value string) *Buffer {
	b.Text(key, value)
	if isUTF8(value) {
		return b
	}
	return b.base64Key(key).Byte('"').Base64(value).Byte('"')
}

// Number appends a member whose value is a number.
func (b *Buffer) Number(key string, value int64) *Buffer { return b.Key(key).Int(value) }

// OptionalNumber appends a number unless it is 0.
func (b *Buffer) OptionalNumber(key string, value int64) *Buffer {
	if value == 0 {
		return b
	}
	return b.Number(key, value)
}

// List appends a member whose value is a list of strings.
func (b *Buffer) List(key string, list []string) *Buffer {
	b.Key(key).Byte('[')
	for i, s := range list {
		if i > 0 {
			b.Byte(',')
		}
		b.JSON(s)
	}
	return b.Byte(']')
}

// OptionalList appends a list unless it is empty.
func (b *Buffer) OptionalList(key string, list []string) *Buffer {
	if len(list) == 0 {
		return b
	}
	return b.List(key, list)
}

// exactList appends a list unless it is empty. If an element is not UTF-8, a second member has the
// bytes of all.
func (b *Buffer) exactList(key string, list []string) {
	b.OptionalList(key, list)
	exact := true
	for _, s := range list {
		exact = exact && isUTF8(s)
	}
	if exact {
		return
	}
	b.base64Key(key).Byte('[')
	for i, s := range list {
		if i > 0 {
			b.Byte(',')
		}
		b.Byte('"').Base64(s).Byte('"')
	}
	b.Byte(']')
}

// pairs appends an object unless it is empty.
func (b *Buffer) pairs(key string, pairs []Pair) {
	if len(pairs) == 0 {
		return
	}
	b.Key(key).Byte('{')
	for _, p := range pairs {
		b.memberName(p.Name).JSON(p.Value)
	}
	b.Byte('}')
}

// base64Pairs appends an object of the values that are not UTF-8, unless there are none.
func (b *Buffer) base64Pairs(key string, pairs []Pair) {
	some := false
	for _, p := range pairs {
		if isUTF8(p.Value) {
			continue
		}
		if !some {
			b.Key(key).Byte('{')
			some = true
		}
		b.memberName(p.Name).Byte('"').Base64(p.Value).Byte('"')
	}
	if some {
		b.Byte('}')
	}
}

// memberName appends a key that may need escapes.
func (b *Buffer) memberName(name string) *Buffer {
	if b.Bytes[len(b.Bytes)-1] != '{' {
		b.Byte(',')
	}
	return b.JSON(name).Byte(':')
}

// base64Key appends the key of the member that has the exact bytes of another.
func (b *Buffer) base64Key(key string) *Buffer { return b.Raw(`,"`).Raw(key).Raw(`_b64":`) }

// value appends a member whose value is JSON; nil is null.
func (b *Buffer) value(key string, json []byte) *Buffer {
	if json == nil {
		return b.Key(key).Raw("null")
	}
	return b.Key(key).Raw(View(json))
}

// optionalValue appends a member whose value is JSON unless that is nil.
func (b *Buffer) optionalValue(key string, json []byte) {
	if json != nil {
		b.value(key, json)
	}
}

// isUTF8 is utf8.ValidString, which needs more of the program than most strings do.
func isUTF8(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return utf8.ValidString(s[i:])
		}
	}
	return true
}
