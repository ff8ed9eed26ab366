package rerun

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"substrate/internal/config"
	"substrate/internal/replay"
	"substrate/trace"
)

// printf is a plan on the host that prints text.
func printf(dir, text string) replay.Plan {
	return replay.Plan{Cmd: "printf " + text, Path: "/usr/bin/printf", Argv: []string{"/usr/bin/printf", text}, Cwd: dir, Umask: 0o22, Mode: "argv"}
}

// RPL6, RPL7, RPL11: a run on the host and a replay of it are spans, with verdict and output.
func TestRunAndReplayOnTheHost(t *testing.T) {
	dir := t.TempDir()
	cfg := config.Config{Trace: filepath.Join(dir, "trace.jsonl"), Dir: dir}
	reader := &trace.Reader{Path: cfg.Trace}
	reported := ""
	first, err := Run(Options{
		Config: cfg, Component: trace.ComponentWorld, Plan: printf(dir, "hello"), Reader: reader, ToFiles: true,
		Watch: Watch{Warn: func(err error) { t.Error(err) }}, Report: func(o replay.Outcome) { reported = o.SpanID },
	})
	if err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(first.Stdout); string(text) != "hello" || first.Result.Exit != 0 || reported != first.SpanID || first.Verdict() != nil {
		t.Errorf("outcome %+v, output %q, reported %q", first, text, reported)
	}

	question, err := json.Marshal(job{Span: first.SpanID})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := Work(cfg, nil, bytes.NewReader(question), &out); err != nil {
		t.Fatal(err)
	}
	var a answer
	if err := json.Unmarshal(out.Bytes(), &a); err != nil || a.Report == nil {
		t.Fatalf("answer %s: %v", &out, err)
	}
	v := a.Report.Verdict
	if *a.Report.ReplayOf != first.SpanID || v.Result != replay.Same || v.Stdout != replay.Same || v.Files != replay.NotRecorded {
		t.Errorf("report %s", &out)
	}
	last, err := reader.LastReplay(first.SpanID)
	if err != nil || last.SpanID != a.Report.SpanID {
		t.Errorf("the last replay in the trace is %+v, %v", last, err)
	}
}

// RPL12: a worker that cannot replay its span gives the reason in one line.
func TestWorkerGivesAReason(t *testing.T) {
	dir := t.TempDir()
	var out bytes.Buffer
	if err := Work(config.Config{Trace: filepath.Join(dir, "trace.jsonl")}, nil, strings.NewReader(`{"Span":"spn_1"}`), &out); err != nil {
		t.Fatal(err)
	}
	var a answer
	if err := json.Unmarshal(out.Bytes(), &a); err != nil || a.Report != nil || a.Reason == "" || strings.Contains(a.Reason, "\n") {
		t.Errorf("answer %s: %v", &out, err)
	}
	if err := Work(config.Config{}, nil, strings.NewReader("not JSON"), &out); err == nil {
		t.Error("a question that is not JSON gave no error")
	}
}

// RPL6: without a trace there is no place for the output of a command, and it is not run.
func TestRunNeedsAPlaceForFiles(t *testing.T) {
	dir := t.TempDir()
	made := filepath.Join(dir, "made")
	plan := replay.Plan{Path: "/usr/bin/touch", Argv: []string{"touch", made}, Cwd: dir}
	_, err := Run(Options{Plan: plan, ToFiles: true, Watch: Watch{Warn: func(error) {}}})
	if _, statErr := os.Stat(made); err == nil || statErr == nil || Status(err) != 125 {
		t.Errorf("error %v, status %d; the command made its file: %v", err, Status(err), statErr == nil)
	}
}

// WLD1: a world hides the store, which may have parts outside of its directory.
func TestHidden(t *testing.T) {
	for _, test := range []struct {
		cfg  config.Config
		want []string
	}{
		{config.Config{}, nil},
		{config.Config{Dir: "/h/.substrate", Trace: "/h/.substrate/trace.jsonl"}, []string{"/h/.substrate"}},
	} {
		if d := cmp.Diff(test.want, hidden(test.cfg)); d != "" {
			t.Errorf("hidden paths of %+v (-want +got):\n%s", test.cfg, d)
		}
	}
	elsewhere := hidden(config.Config{Dir: "/h/.substrate", Trace: "/srv/t/trace.jsonl"})
	for _, path := range []string{"/h/.substrate", "/srv/t/trace.jsonl", "/srv/t/vault.jsonl", "/srv/t/captures", "/srv/t/replays"} {
		if !strings.Contains(strings.Join(elsewhere, "\n")+"\n", path+"\n") {
			t.Errorf("%s is not hidden, only %q", path, elsewhere)
		}
	}
}

func TestDirectoriesOfAnEnvironment(t *testing.T) {
	env := []string{"HOME=/h", "TMPDIR=tmp", "XDG_CACHE_HOME=/c", "PATH=/bin"}
	if d := cmp.Diff([]string{"/h", "/c"}, likely(env)); d != "" {
		t.Errorf("likely directories (-want +got):\n%s", d)
	}
	if got := tempOf(env); got != "" {
		t.Errorf("tempOf(%q) = %q, want none: it is not absolute", env, got)
	}
	if got := tempOf([]string{"TMPDIR=/t"}); got != "/t" {
		t.Errorf("tempOf = %q, want /t", got)
	}
}
