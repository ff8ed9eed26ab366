package trace

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"unicode/utf8"

	"substrate/fsdiff"
)

// AppendJSON appends the line of r to dst, without a newline, and returns the
// result. It contains no newline either. Bytes that are not UTF-8 become U+FFFD in
// the field itself and stand exact in its B64 field.
//
// It is written by hand because two lines are written for each command, and
// encoding/json costs several times as much. Only a diff goes through encoding/json.
func AppendJSON(dst []byte, r *Record) []byte {
	dst = append(dst, `{"trace_schema_version":`...)
	dst = strconv.AppendInt(dst, int64(r.TraceSchemaVersion), 10)
	dst = appendText(dst, "ts", r.TS)
	dst = appendText(dst, "event_type", r.EventType)
	dst = appendText(dst, "session_id", r.SessionID)
	dst = appendText(dst, "component", r.Component)
	dst = appendText(dst, "span_id", r.SpanID)
	dst = appendText(dst, "parent_span", r.ParentSpan)
	dst = appendExact(dst, "cmd", "cmd_b64", r.Cmd, r.CmdB64)
	dst = appendExactList(dst, "argv", "argv_b64", r.Argv, r.ArgvB64)
	if r.ResolvedPath != "" {
		dst = appendExact(dst, "resolved_path", "resolved_path_b64", r.ResolvedPath, r.ResolvedPathB64)
	}
	dst = appendOptional(dst, "shell", r.Shell)
	dst = appendExactList(dst, "shell_args", "shell_args_b64", r.ShellArgs, r.ShellArgsB64)
	dst = appendScript(dst, r.Script)
	dst = appendExact(dst, "cwd", "cwd_b64", r.Cwd, r.CwdB64)
	dst = appendOptional(dst, "umask", r.Umask)
	dst = appendEnv(dst, r.Env, r.EnvB64)
	dst = appendMap(dst, "env_hashes", r.EnvHashes)
	dst = appendText(dst, "agent_id", r.AgentID)
	dst = appendText(dst, "host", r.Host)
	dst = appendInt(dst, "uid", int64(r.UID))
	dst = appendInt(dst, "gid", int64(r.GID))
	dst = appendInt(dst, "pid", int64(r.PID))
	dst = appendOptionalInt(dst, "depth", int64(r.Depth))
	dst = appendOptional(dst, "caller", r.Caller)
	dst = appendOptionalList(dst, "call_stack", r.CallStack)
	dst = appendOptional(dst, "replay_of", r.ReplayOf)
	dst = appendOptionalInt(dst, "secrets", int64(r.Secrets))
	if r.Completion != nil {
		dst = appendCompletion(dst, r.Completion)
	}
	return append(dst, '}')
}

// MarshalJSON gives the same as [AppendJSON], so that no route to JSON loses bytes.
func (r Record) MarshalJSON() ([]byte, error) { return AppendJSON(nil, &r), nil }

func appendCompletion(dst []byte, c *Completion) []byte {
	dst = appendInt(dst, "exit", int64(c.Exit))
	dst = appendOptionalInt(dst, "term_signal", int64(c.TermSignal))
	dst = appendInt(dst, "duration_ms", c.DurationMS)
	dst = appendInt(dst, "user_ms", c.UserMS)
	dst = appendInt(dst, "sys_ms", c.SysMS)
	dst = appendInt(dst, "max_rss_kb", c.MaxRSSKB)
	dst = appendOptionalInt(dst, "cpu_ms", c.CPUMS)
	dst = appendOptionalInt(dst, "memory_peak_bytes", c.MemoryPeakBytes)
	dst = appendOptionalInt(dst, "oom_kills", int64(c.OOMKills))
	dst = appendCapture(dst, c.Capture)
	dst = appendList(dst, "scopes_used", c.ScopesUsed)
	degraded := c.DegradedComponents
	diff, err := marshalDiff(c.FSDiff)
	if err != nil {
		// A line without its diff is better than none, but it must say so.
		diff = []byte("null")
		degraded = append(slices.Clip(degraded), "fs_diff: "+err.Error())
	}
	dst = append(appendKey(dst, "fs_diff"), diff...)
	dst = appendList(dst, "degraded_components", degraded)
	dst = appendReplayContext(dst, c.ReplayContext)
	dst = appendOptional(dst, "world_id", c.WorldID)
	dst = appendOptional(dst, "fs_strategy", c.FSStrategy)
	dst = appendOptionalInt(dst, "world_setup_us", c.SetupUS)
	dst = appendOptionalInt(dst, "world_teardown_us", c.TeardownUS)
	return appendOptionalList(dst, "fs_fallback_reasons", c.FSFallbackReasons)
}

func appendCapture(dst []byte, c *Capture) []byte {
	if c == nil {
		return dst
	}
	dst = append(appendKey(dst, "capture"), '{')
	dst = appendStream(appendKey(dst, "stdout"), &c.Stdout)
	dst = appendStream(appendKey(dst, "stderr"), &c.Stderr)
	return append(dst, '}')
}

func appendStream(dst []byte, s *Stream) []byte {
	dst = appendText(append(dst, '{'), "sha256", s.SHA256)
	dst = appendInt(dst, "bytes", s.Bytes)
	dst = appendOptional(dst, "path", s.Path)
	if s.Truncated {
		dst = append(appendKey(dst, "truncated"), "true"...)
	}
	return append(dst, '}')
}

// marshalDiff uses encoding/json: only a world has a diff, so this is not the hot path.
func marshalDiff(d *fsdiff.Diff) ([]byte, error) {
	if d == nil {
		return []byte("null"), nil
	}
	return json.Marshal(d)
}

func appendScript(dst []byte, s *Script) []byte {
	if s == nil {
		return dst
	}
	dst = appendKey(dst, "script")
	dst = append(dst, '{')
	dst = appendExact(dst, "path", "path_b64", s.Path, s.PathB64)
	dst = appendText(dst, "sha256", s.SHA256)
	if s.Text != "" || s.TextB64 != "" {
		dst = appendExact(dst, "text", "text_b64", s.Text, s.TextB64)
	}
	if s.TextTruncated {
		dst = append(appendKey(dst, "text_truncated"), "true"...)
	}
	return append(dst, '}')
}

func appendReplayContext(dst []byte, c *ReplayContext) []byte {
	dst = appendKey(dst, "replay_context")
	if c == nil {
		return append(dst, "null"...)
	}
	dst = append(dst, '{')
	dst = appendText(dst, "mode", c.Mode)
	dst = strconv.AppendBool(appendKey(dst, "world"), c.World)
	dst = appendOptionalList(dst, "argv", c.Argv)
	dst = appendOptional(dst, "stdin_path", c.StdinPath)
	if v := c.Verdict; v != nil {
		dst = append(appendKey(dst, "verdict"), '{')
		dst = appendText(dst, "result", v.Result)
		dst = appendText(dst, "exit", v.Exit)
		dst = appendText(dst, "stdout", v.Stdout)
		dst = appendText(dst, "stderr", v.Stderr)
		dst = appendText(dst, "files", v.Files)
		dst = appendOptionalList(dst, "environment", v.Environment)
		dst = append(appendPrevious(dst, v.Previous), '}')
	}
	return append(dst, '}')
}

func appendPrevious(dst []byte, p *Replay) []byte {
	if p == nil {
		return dst
	}
	dst = append(appendKey(dst, "previous"), '{')
	dst = appendText(dst, "span_id", p.SpanID)
	dst = appendText(dst, "result", p.Result)
	dst = appendText(dst, "exit", p.Exit)
	dst = appendText(dst, "stdout", p.Stdout)
	dst = appendText(dst, "stderr", p.Stderr)
	dst = appendText(dst, "files", p.Files)
	return append(dst, '}')
}

// appendExact appends a field and, if the bytes are not UTF-8, its B64 field.
func appendExact(dst []byte, key, keyB64, s, b64 string) []byte {
	dst = appendText(dst, key, s)
	if b64 == "" && !utf8.ValidString(s) {
		b64 = base64.StdEncoding.EncodeToString([]byte(s))
	}
	return appendOptional(dst, keyB64, b64)
}

func appendExactList(dst []byte, key, keyB64 string, list, b64 []string) []byte {
	dst = appendOptionalList(dst, key, list)
	if len(b64) == 0 && !allUTF8(list) {
		for _, s := range list {
			b64 = append(b64, base64.StdEncoding.EncodeToString([]byte(s)))
		}
	}
	return appendOptionalList(dst, keyB64, b64)
}

func appendEnv(dst []byte, env, b64 map[string]string) []byte {
	dst = appendMap(dst, "env", env)
	b64 = maps.Clone(b64)
	for name, value := range env {
		if utf8.ValidString(value) || b64[name] != "" {
			continue
		}
		if b64 == nil {
			b64 = make(map[string]string)
		}
		b64[name] = base64.StdEncoding.EncodeToString([]byte(value))
	}
	return appendMap(dst, "env_b64", b64)
}

func allUTF8(list []string) bool {
	return !slices.ContainsFunc(list, func(s string) bool { return !utf8.ValidString(s) })
}

// appendKey appends a comma, unless an object has just begun, the key and a colon.
func appendKey(dst []byte, key string) []byte {
	if dst[len(dst)-1] != '{' {
		dst = append(dst, ',')
	}
	dst = append(dst, '"')
	dst = append(dst, key...)
	return append(dst, '"', ':')
}

func appendText(dst []byte, key, value string) []byte {
	return appendString(appendKey(dst, key), value)
}

func appendOptional(dst []byte, key, value string) []byte {
	if value == "" {
		return dst
	}
	return appendText(dst, key, value)
}

func appendInt(dst []byte, key string, value int64) []byte {
	return strconv.AppendInt(appendKey(dst, key), value, 10)
}

func appendOptionalInt(dst []byte, key string, value int64) []byte {
	if value == 0 {
		return dst
	}
	return appendInt(dst, key, value)
}

func appendList(dst []byte, key string, list []string) []byte {
	dst = append(appendKey(dst, key), '[')
	for i, s := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, s)
	}
	return append(dst, ']')
}

func appendOptionalList(dst []byte, key string, list []string) []byte {
	if len(list) == 0 {
		return dst
	}
	return appendList(dst, key, list)
}

// appendMap appends the pairs in the order of their names, and nothing if there are none.
func appendMap(dst []byte, key string, m map[string]string) []byte {
	if len(m) == 0 {
		return dst
	}
	dst = append(appendKey(dst, key), '{')
	for i, name := range slices.Sorted(maps.Keys(m)) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, name), ':')
		dst = appendString(dst, m[name])
	}
	return append(dst, '}')
}
