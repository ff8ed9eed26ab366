package vault

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"substrate/trace"
)

func TestForget(t *testing.T) { // REC10: secrets of spans that are gone are not kept for ever
	tracePath := filepath.Join(t.TempDir(), "trace.jsonl")
	vault := Path(tracePath)
	const old = "spn_0190f3c27b1e7cc1a6de2f3f6b0f9a11" // of 2024
	young := trace.NewSpanID()
	for _, id := range []string{old, young} {
		if err := write(vault, id, 1, []string{"value of " + id}, false); err != nil {
			t.Fatal(err)
		}
	}
	has := func(id string) bool {
		values, err := read(vault, id)
		if err != nil {
			t.Fatal(err)
		}
		return values[1] == "value of "+id
	}
	// While the trace has a line that is older still, everything stays.
	if err := trace.Append(tracePath+".1", &trace.Record{TS: "2020-01-01T00:00:00.000000000Z", EventType: trace.EventStart}, trace.AppendOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := trace.Append(tracePath, &trace.Record{
		EventType: trace.EventStart, SessionID: "s", Component: trace.ComponentShell, SpanID: young, AgentID: "human", PID: 1,
	}, trace.AppendOptions{}); err != nil {
		t.Fatal(err)
	}
	tidy(tracePath)
	if !has(old) || !has(young) {
		t.Fatal("a secret is gone whose span is there")
	}
	if err := os.Remove(tracePath + ".1"); err != nil {
		t.Fatal(err)
	}
	tidy(tracePath)
	if !has(old) {
		t.Error("it looked twice a day")
	}
	yesterday := time.Now().Add(-25 * time.Hour)
	if err := os.Chtimes(filepath.Join(filepath.Dir(vault), ".vault-tidied"), yesterday, yesterday); err != nil {
		t.Fatal(err)
	}
	f, err := openLocked(vault) // a writer that waits while the file is replaced
	if err != nil {
		t.Fatal(err)
	}
	written := make(chan error)
	late := trace.NewSpanID()
	go func() { written <- write(vault, late, 1, []string{"value of " + late}, false) }()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	tidy(tracePath)
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	if has(old) || !has(young) || !has(late) {
		t.Errorf("old %v, young %v, late %v; want only the old one gone", has(old), has(young), has(late))
	}
	if st, err := os.Stat(vault); err != nil || st.Mode() != 0o600 {
		t.Errorf("vault: %v, %v, want mode 0600", st.Mode(), err)
	}
}
