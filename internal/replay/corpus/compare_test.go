package corpus

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sort"
	"testing"

	"substrate/internal/redact"
	"substrate/internal/tracecheck"
)

// bytesDifference returns the text around the first byte that differs.
func bytesDifference(want, got []byte) []string {
	if bytes.Equal(want, got) {
		return nil
	}
	at := 0
	for at < len(want) && at < len(got) && want[at] == got[at] {
		at++
	}
	from := max(0, at-60)
	part := func(b []byte) string {
		return fmt.Sprintf("%d bytes, from byte %d: %q", len(b), from, b[min(from, len(b)):min(from+400, len(b))])
	}
	return []string{"got  " + part(got), "want " + part(want)}
}

// worldWarnings are the warnings that a replay in a world prints even with --no-report, if the
// machine lacks something that isolation does not depend on (RPL6, RPL9).
var worldWarnings = []string{
	"[replay] warn: cgroup v2 unavailable or insufficient privileges; skipping cgroup attach\n",
	"[replay] warn: nft not available; netfilter scoping/logging disabled\n",
}

// withoutWarnings removes each of worldWarnings once from the end.
func withoutWarnings(stderr []byte) []byte {
	for i := range worldWarnings {
		stderr = bytes.TrimSuffix(stderr, []byte(worldWarnings[len(worldWarnings)-1-i]))
	}
	return stderr
}

// mapDifferences compares the kinds of change of each path.
func mapDifferences(want, got map[string]string) []string {
	var out []string
	for path, kind := range want {
		if got[path] != kind {
			out = append(out, fmt.Sprintf("%q is listed as %q, want %q", path, got[path], kind))
		}
	}
	for path, kind := range got {
		if want[path] == "" {
			out = append(out, fmt.Sprintf("%q is listed as %q, want it not listed", path, kind))
		}
	}
	sort.Strings(out)
	return out
}

// line is the part of a trace line that the test reads. It is not trace.Record, so that a mistake
// there does not hide itself.
type line struct {
	EventType string `json:"event_type"`
	Component string `json:"component"`
	SpanID    string `json:"span_id"`
	Cmd       string `json:"cmd"`
	CmdB64    string `json:"cmd_b64"`
	ReplayOf  string `json:"replay_of"`
	Exit      int    `json:"exit"`
	FSDiff    *struct {
		Entries []struct {
			Path    string `json:"path"`
			PathB64 string `json:"path_b64"`
			Kind    string `json:"kind"`
		} `json:"entries"`
	} `json:"fs_diff"`
}

// readTrace reads all lines of the snippet's trace.
func (p *place) readTrace() ([]line, error) {
	f, err := os.Open(p.trace())
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var lines []line
	in := bufio.NewReader(f)
	for {
		text, err := in.ReadBytes('\n')
		if len(text) == 0 {
			return lines, nil
		}
		if err != nil {
			return nil, fmt.Errorf("line %d is torn", len(lines)+1)
		}
		var l line
		if err := json.Unmarshal(text, &l); err != nil {
			return nil, fmt.Errorf("line %d: %w", len(lines)+1, err)
		}
		lines = append(lines, l)
	}
}

// validate checks the trace against its schema (TRC7).
func (p *place) validate(t *testing.T) {
	t.Helper()
	f, err := os.Open(p.trace())
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	problems, err := tracecheck.Validate(f)
	if err != nil {
		t.Error(err)
	}
	for _, problem := range problems {
		t.Errorf("the trace does not fit its schema: %v", problem)
	}
}

// recordedSpan returns the id of the span of run B. The span must have one start line and one
// complete line, the exact command without its secrets, and the exit status (REC3, REC4, REC10).
// The id is also returned with an error, if there is a line.
func (p *place) recordedSpan(status int) (string, error) {
	lines, err := p.readTrace()
	if err != nil {
		return "", err
	}
	if len(lines) == 0 {
		return "", errors.New("is empty")
	}
	id := lines[0].SpanID
	if len(lines) != 2 || lines[0].EventType != "command_start" || lines[1].EventType != "command_complete" || lines[1].SpanID != id {
		return id, fmt.Errorf("want a start and a complete line, got %.500q", fmt.Sprintf("%+v", lines))
	}
	var secrets redact.Redactor
	want := secrets.Text(p.s.cmd)
	for _, l := range lines {
		cmd, err := textOrBase64(l.Cmd, l.CmdB64)
		if err != nil || cmd != want || l.Component != "shell" {
			return id, fmt.Errorf("%s: cmd is %.200q, component %q, %v", l.EventType, cmd, l.Component, err)
		}
	}
	if _, excused := p.s.excused("B", "status", p.id.name); lines[1].Exit != status && !excused {
		return id, fmt.Errorf("exit is %d, want %d", lines[1].Exit, status)
	}
	return id, nil
}

// replayedSpan returns the complete line of the nth replay of the span. The replay must have a
// start line and the right exit status (RPL11).
func (p *place) replayedSpan(nth, status int, of string) (line, error) {
	lines, err := p.readTrace()
	if err != nil {
		return line{}, err
	}
	if len(lines) != 2+2*nth {
		return line{}, fmt.Errorf("%d lines after replay %d, want %d", len(lines), nth, 2+2*nth)
	}
	start, end := lines[len(lines)-2], lines[len(lines)-1]
	if start.EventType != "command_start" || end.EventType != "command_complete" || start.SpanID != end.SpanID ||
		end.Component != "replay" || end.ReplayOf != of || end.Exit != status {
		return line{}, fmt.Errorf("the last lines are %.500q, want the two of a replay with exit %d", fmt.Sprintf("%+v", lines[len(lines)-2:]), status)
	}
	return end, nil
}

// changes returns the entries of fs_diff: path → kind.
func (l line) changes() (map[string]string, error) {
	if l.FSDiff == nil {
		return nil, errors.New("no fs_diff")
	}
	out := map[string]string{}
	for _, e := range l.FSDiff.Entries {
		path, err := textOrBase64(e.Path, e.PathB64)
		if err != nil {
			return nil, err
		}
		out[path] = e.Kind
	}
	return out, nil
}

// textOrBase64 returns the exact bytes of a string in the trace.
func textOrBase64(text, b64 string) (string, error) {
	if b64 == "" {
		return text, nil
	}
	raw, err := base64.StdEncoding.DecodeString(b64)
	return string(raw), err
}
