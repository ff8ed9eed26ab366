package trace

import (
	"encoding/json"
	"maps"
	"slices"

	"substrate/fsdiff"
	"substrate/internal/plain"
)

// AppendJSON appends the line of r to dst and returns the result. The line contains no newline, not
// even at its end. Where a field has bytes that are not UTF-8, they become U+FFFD, and its B64
// field holds the exact bytes.
//
// The encoder is written by hand because each command writes two lines, and encoding/json takes
// several times as long. Only a diff goes through encoding/json.
func AppendJSON(dst []byte, r *Record) []byte {
	b := plain.Growing(dst)
	b.Head(int64(r.TraceSchemaVersion), r.TS, r.EventType)
	b.Start(&plain.Start{
		SessionID: r.SessionID, Component: r.Component, SpanID: r.SpanID, ParentSpan: r.ParentSpan,
		Cmd: r.Cmd, Argv: r.Argv, ResolvedPath: r.ResolvedPath, Shell: r.Shell, ShellArgs: r.ShellArgs, Script: scriptJSON(r.Script),
		Cwd: r.Cwd, Umask: r.Umask, Env: pairs(r.Env), EnvHashes: pairs(r.EnvHashes),
		AgentID: r.AgentID, Host: r.Host, UID: int64(r.UID), GID: int64(r.GID), PID: int64(r.PID),
		Depth: int64(r.Depth), Caller: r.Caller, CallStack: r.CallStack, ReplayOf: r.ReplayOf, Secrets: int64(r.Secrets),
	})
	if r.Completion != nil {
		appendCompletion(&b, r.Completion)
	}
	return b.Byte('}').Bytes
}

// MarshalJSON returns what [AppendJSON] appends, so that encoding/json loses no bytes either.
func (r Record) MarshalJSON() ([]byte, error) { return AppendJSON(nil, &r), nil }

// pairs returns the pairs of m, sorted by name.
func pairs(m map[string]string) []plain.Pair {
	if len(m) == 0 {
		return nil
	}
	list := make([]plain.Pair, 0, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		list = append(list, plain.Pair{Name: name, Value: m[name]})
	}
	return list
}

func appendCompletion(b *plain.Buffer, c *Completion) {
	degraded := c.DegradedComponents
	diff, err := diffJSON(c.FSDiff)
	if err != nil { // a line without its diff is better than none; the reason goes into the line
		degraded = append(slices.Clip(degraded), "fs_diff: "+err.Error())
	}
	b.End(&plain.End{
		Exit: int64(c.Exit), TermSignal: int64(c.TermSignal), DurationMS: c.DurationMS,
		UserMS: c.UserMS, SysMS: c.SysMS, MaxRSSKB: c.MaxRSSKB,
		CPUMS: c.CPUMS, MemoryPeakBytes: c.MemoryPeakBytes, OOMKills: int64(c.OOMKills), Capture: captureJSON(c.Capture),
		ScopesUsed: c.ScopesUsed, FSDiff: diff, DegradedComponents: degraded, ReplayContext: replayContextJSON(c.ReplayContext),
	})
	b.Optional("world_id", c.WorldID).Optional("fs_strategy", c.FSStrategy)
	b.OptionalNumber("world_setup_us", c.SetupUS).OptionalNumber("world_teardown_us", c.TeardownUS)
	b.OptionalList("fs_fallback_reasons", c.FSFallbackReasons)
}

// diffJSON uses encoding/json: only a world has a diff, so this is not the hot path.
func diffJSON(d *fsdiff.Diff) ([]byte, error) {
	if d == nil {
		return nil, nil
	}
	return json.Marshal(d)
}

func captureJSON(c *Capture) []byte {
	if c == nil {
		return nil
	}
	b := plain.Growing(nil)
	appendStream(b.Byte('{').Key("stdout"), &c.Stdout)
	appendStream(b.Key("stderr"), &c.Stderr)
	return b.Byte('}').Bytes
}

func appendStream(b *plain.Buffer, s *Stream) {
	b.Byte('{').Text("sha256", s.SHA256).Number("bytes", s.Bytes).Optional("path", s.Path)
	if s.Truncated {
		b.Key("truncated").Raw("true")
	}
	b.Byte('}')
}

func scriptJSON(s *Script) []byte {
	if s == nil {
		return nil
	}
	b := plain.Growing(nil)
	b.Byte('{').Exact("path", s.Path).Text("sha256", s.SHA256)
	if s.Text != "" {
		b.Exact("text", s.Text)
	}
	if s.TextTruncated {
		b.Key("text_truncated").Raw("true")
	}
	return b.Byte('}').Bytes
}

func replayContextJSON(c *ReplayContext) []byte {
	if c == nil {
		return nil
	}
	b := plain.Growing(nil)
	b.Byte('{').Text("mode", c.Mode).Key("world")
	if c.World {
		b.Raw("true")
	} else {
		b.Raw("false")
	}
	b.OptionalList("argv", c.Argv).Optional("stdin_path", c.StdinPath)
	if v := c.Verdict; v != nil {
		b.Key("verdict").Byte('{').Text("result", v.Result)
		appendParts(&b, v.Exit, v.Stdout, v.Stderr, v.Files)
		b.OptionalList("environment", v.Environment)
		if p := v.Previous; p != nil {
			b.Key("previous").Byte('{').Text("span_id", p.SpanID).Text("result", p.Result)
			appendParts(&b, p.Exit, p.Stdout, p.Stderr, p.Files)
			b.Byte('}')
		}
		b.Byte('}')
	}
	return b.Byte('}').Bytes
}

// appendParts appends the parts of a verdict.
func appendParts(b *plain.Buffer, exit, stdout, stderr, files string) {
	b.Text("exit", exit).Text("stdout", stdout).Text("stderr", stderr).Text("files", files)
}
