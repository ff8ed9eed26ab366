package replay

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"substrate/internal/record"
	"substrate/trace"
)

// printed is a capture with invented checksums.
func printed(stdout, stderr string) *trace.Capture {
	return &trace.Capture{Stdout: trace.Stream{SHA256: stdout, Bytes: int64(len(stdout))}, Stderr: trace.Stream{SHA256: stderr, Bytes: int64(len(stderr))}}
}

func TestCompareOutput(t *testing.T) { // RPL7
	span := trace.Record{Completion: &Run{Capture: printed("aa", "bb")}}
	v := Compare(span, nil, &Run{Capture: printed("aa", "b")}, nil)
	want := &trace.Verdict{Result: "differs", Exit: "same", Stdout: "same", Stderr: "recorded 2 bytes, now 1", Files: "not recorded"}
	if diff := cmp.Diff(want, v); diff != "" {
		t.Errorf("verdict (-want +got):\n%s", diff)
	}
	if v := Compare(span, nil, &Run{Capture: printed("aa", "cc")}, nil); v.Stderr != "both 2 bytes" {
		t.Errorf("stderr %q", v.Stderr)
	}
	if v := Compare(span, nil, &Run{}, nil); v.Stdout != "not recorded" || v.Result != "same" {
		t.Errorf("without a capture: %+v", v)
	}
}

func TestComparePrevious(t *testing.T) { // RPL7
	span := trace.Record{Completion: &Run{}}
	before := trace.Record{SpanID: "spn_1", Completion: &Run{Exit: 1, Capture: printed("a", "b"), FSDiff: diffOf("+/w/a")}}
	v := Compare(span, &before, &Run{Capture: printed("a", "c"), FSDiff: diffOf("+/w/a")}, nil)
	want := &trace.Verdict{
		Result: "same", Exit: "same", Stdout: "not recorded", Stderr: "not recorded", Files: "not recorded",
		Previous: &trace.Replay{
			SpanID: "spn_1", Result: "differs", Exit: "before 1, now 0", Stdout: "same", Stderr: "both 1 bytes", Files: "same",
		},
	}
	if diff := cmp.Diff(want, v); diff != "" {
		t.Errorf("verdict (-want +got):\n%s", diff)
	}
	if !Differs(v) {
		t.Error("stderr was not recorded and is not as before, and that is no difference")
	}
	v = Compare(span, &before, &Run{Capture: printed("a", "b"), FSDiff: diffOf("+/w/a")}, nil)
	if Differs(v) {
		t.Error("the status is as recorded, and only the replay before was otherwise; that is a difference")
	}
	if Differs(Compare(trace.Record{}, nil, &Run{}, nil)) {
		t.Error("nothing was recorded, and that is a difference")
	}
}

func TestCompareEnvironment(t *testing.T) { // REC5, RPL7
	hash := func(value string) string { return record.HashValue("", value) }
	span := trace.Record{
		Completion: &Run{}, Env: map[string]string{"PATH": "/bin", "LANG": "C"},
		EnvHashes: map[string]string{"A": hash("1"), "B": hash("1"), "C": hash("1"), "A_TOKEN": record.HashValue("A_TOKEN", "1"), "PWD": hash("/x"), "SHLVL": hash("1")},
	}
	env := []string{"PATH=/bin", "LANG=de", "A=1", "B=2", "A_TOKEN=1", "PWD=/y"}
	if diff := cmp.Diff([]string{"B", "LANG"}, Compare(span, nil, &Run{}, env).Environment); diff != "" {
		t.Errorf("same outcome (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"B", "C", "LANG"}, Compare(span, nil, &Run{Exit: 1}, env).Environment); diff != "" {
		t.Errorf("other outcome (-want +got):\n%s", diff)
	}
	if got := Compare(trace.Record{Completion: &Run{}}, nil, &Run{Exit: 1}, env).Environment; got != nil {
		t.Errorf("nothing recorded: %q", got)
	}
}

func TestUnstable(t *testing.T) { // RPL12
	reports := []*Report{
		{Capture: printed("a", "b"), FSDiff: diffOf("+/w/a")},
		{Capture: printed("a", "b"), FSDiff: diffOf("+/w/a")},
		{Exit: 1, Capture: printed("a", "c"), FSDiff: diffOf("+/w/b")},
		{Capture: printed("a", "d"), FSDiff: diffOf()},
	}
	if diff := cmp.Diff([]string{"exit code", "stderr", "files"}, Unstable(reports)); diff != "" {
		t.Errorf("Unstable (-want +got):\n%s", diff)
	}
	if got := Unstable(reports[:2]); got != nil {
		t.Errorf("Unstable = %q", got)
	}
}
