package rerun

import (
	"errors"
	"path/filepath"

	"substrate/internal/record"
	"substrate/internal/redact"
	"substrate/internal/replay"
	"substrate/internal/vault"
	"substrate/trace"
)

// Find finds the span that ref names, and plans to run it again. The span has its secrets in
// place; cmd is its command as the trace has it. The reader reads the trace.
//
// The error may be a [*replay.Error] or a [*vault.MissingError], which know a remedy.
func Find(reader *trace.Reader, ref string, o replay.Options) (was trace.Record, cmd string, plan replay.Plan, err error) {
	span, err := replay.Target(reader, ref)
	if err != nil {
		return trace.Record{}, "", replay.Plan{}, err
	}
	was, plan, err = planFor(reader.Path, span, o)
	return was, span.Cmd, plan, err
}

// planFor puts the secrets of a span in place, and plans to run it again.
func planFor(tracePath string, span trace.Record, o replay.Options) (trace.Record, replay.Plan, error) {
	was, err := vault.Reveal(tracePath, span)
	if err != nil {
		return trace.Record{}, replay.Plan{}, err
	}
	plan, err := replay.NewPlan(was, o)
	return was, plan, hideSecrets(err)
}

// hideSecrets takes the secrets out of the reason why a span cannot be replayed.
func hideSecrets(err error) error {
	var refused *replay.Error
	if !errors.As(err, &refused) {
		return err
	}
	var r redact.Redactor
	return &replay.Error{Err: errors.New(r.Text(err.Error())), Hint: r.Text(refused.Hint)}
}

// ChangedScript is the script that a span ran if that is not what it was, without secrets; else
// "". The replay runs the file as it is now, as the shell would.
func ChangedScript(span *trace.Record) string {
	if span.Script == nil || span.Script.SHA256 == "" {
		return ""
	}
	path := span.Script.Path
	if !filepath.IsAbs(path) {
		path = filepath.Join(span.Cwd, path)
	}
	if now, err := record.Script(path); err == nil && now.SHA256 == span.Script.SHA256 {
		return ""
	}
	return new(redact.Redactor).Text(path)
}
