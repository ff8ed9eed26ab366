package vault

import (
	"fmt"
	"maps"

	"substrate/fsdiff"
	"substrate/internal/redact"
	"substrate/trace"
)

// transform changes every string of a record that can hold a part of what somebody typed. It
// copies lists, maps and diffs before it changes them. It leaves alone what substrate makes
// itself, such as ids, times and hashes, and the names of variables.
type transform struct {
	text  func(string) string
	words func([]string) []string
}

// begin changes what a start line says.
func (t transform) begin(r *trace.Record) {
	// The lists come first: their words are whole, so a secret found there is exact.
	r.Argv, r.ShellArgs = t.words(r.Argv), t.words(r.ShellArgs)
	for _, s := range []*string{&r.Cmd, &r.ResolvedPath, &r.Shell, &r.Cwd, &r.AgentID, &r.Caller} {
		*s = t.text(*s)
	}
	r.CallStack = t.each(r.CallStack)
	if r.Script != nil {
		script := *r.Script
		script.Path, script.Text = t.text(script.Path), t.text(script.Text)
		r.Script = &script
	}
	r.Env = t.values(r.Env)
}

// values changes the values of a map.
func (t transform) values(m map[string]string) map[string]string {
	out, copied := m, false
	for name, value := range m {
		changed := t.text(value)
		if changed == value {
			continue
		}
		if !copied {
			out, copied = maps.Clone(m), true
		}
		out[name] = changed
	}
	return out
}

// end changes what a complete line adds.
func (t transform) end(c *trace.Completion) {
	c.ScopesUsed, c.DegradedComponents, c.FSFallbackReasons = t.each(c.ScopesUsed), t.each(c.DegradedComponents), t.each(c.FSFallbackReasons)
	c.FSDiff = t.diff(c.FSDiff)
	if c.ReplayContext == nil {
		return
	}
	replay := *c.ReplayContext
	replay.Argv, replay.StdinPath, replay.Mode = t.words(replay.Argv), t.text(replay.StdinPath), t.text(replay.Mode)
	if replay.Verdict != nil {
		v := *replay.Verdict
		v.Files = t.text(v.Files)
		replay.Verdict = &v
	}
	c.ReplayContext = &replay
}

// each changes the elements of a list one by one.
func (t transform) each(list []string) []string {
	out := list
	for i, s := range list {
		changed := t.text(s)
		if changed == s {
			continue
		}
		if &out[0] == &list[0] {
			out = append([]string(nil), list...)
		}
		out[i] = changed
	}
	return out
}

// diff changes the paths and link targets of a diff.
func (t transform) diff(d *fsdiff.Diff) *fsdiff.Diff {
	if d == nil {
		return nil
	}
	out := *d
	if out.Root = t.text(d.Root); out.Root != d.Root {
		out.RootB64 = "" // no replay needs it
	}
	copied := false
	for i := range d.Entries {
		e := d.Entries[i]
		path, target := t.text(e.Raw()), t.text(e.Target())
		before := t.before(e.Before)
		if path == e.Raw() && target == e.Target() && before == e.Before {
			continue
		}
		if !copied {
			out.Entries, copied = append([]fsdiff.Entry(nil), d.Entries...), true
		}
		e.SetPath(path)
		e.SetTarget(target)
		e.Before = before
		out.Entries[i] = e
	}
	return &out
}

// before changes the link target of the state before a change; nil stays nil.
func (t transform) before(m *fsdiff.Meta) *fsdiff.Meta {
	if m == nil {
		return nil
	}
	target := t.text(m.Target())
	if target == m.Target() {
		return m
	}
	out := *m
	out.SetTarget(target)
	return &out
}

// Redact takes the secrets out of what a start line says. It replaces the lists and maps that r
// holds and does not change them.
func Redact(secrets *redact.Redactor, r *trace.Record) { redacting(secrets).begin(r) }

// RedactEnd takes the secrets out of what a complete line adds, as [Redact] does.
func RedactEnd(secrets *redact.Redactor, c *trace.Completion) { redacting(secrets).end(c) }

func redacting(r *redact.Redactor) transform { return transform{text: r.Text, words: r.Words} }

// restoring is the transform that puts values back. It sets missing to the first placeholder
// without a value.
func restoring(values map[int]string, missing *string) transform {
	text := func(s string) string {
		out, lost := redact.Restore(s, values)
		if *missing == "" {
			*missing = lost
		}
		return out
	}
	t := transform{text: text}
	t.words = t.each
	return t
}

// MissingError reports that a secret which was taken out of a span is lost.
type MissingError struct {
	SpanID      string
	Placeholder string
	Vault       string // the file that should hold it
	Err         error  // why that cannot be read; nil if it has no such entry
}

// Error names the placeholder.
func (e *MissingError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("the value of %s in span %s is not known: %v", e.Placeholder, e.SpanID, e.Err)
	}
	return fmt.Sprintf("the value of %s in span %s is not known: %s has no entry for it", e.Placeholder, e.SpanID, e.Vault)
}

// Unwrap returns the cause.
func (e *MissingError) Unwrap() error { return e.Err }

// Reveal returns the span as it was before its secrets were taken out. The caller found it in the
// trace at tracePath. The error is a [*MissingError].
func Reveal(tracePath string, span trace.Record) (trace.Record, error) {
	if span.Secrets == 0 {
		return span, nil
	}
	path := Path(tracePath)
	values, readErr := read(path, span.SpanID)
	missing := ""
	t := restoring(values, &missing)
	t.begin(&span)
	if span.Completion != nil {
		done := *span.Completion
		t.end(&done)
		span.Completion = &done
	}
	if missing != "" {
		return span, &MissingError{SpanID: span.SpanID, Placeholder: missing, Vault: path, Err: readErr}
	}
	return span, nil
}
