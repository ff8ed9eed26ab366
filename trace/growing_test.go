package trace_test

import (
	"os"
	"path/filepath"
	"testing"

	"substrate/trace"
)

// TRC2: a line that a writer is writing is not torn. Readers of a busy trace must not warn of it.
func TestLineBeingWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace.jsonl")
	whole := string(trace.AppendJSON(nil, stamped(testStart("true"))))
	if err := os.WriteFile(path, []byte(whole+"\n"+whole[:len(whole)/2]), 0o600); err != nil {
		t.Fatal(err)
	}
	scan := func() (records, warnings int) {
		r := trace.Reader{Path: path, Warn: func(trace.Warning) { warnings++ }}
		err := r.Scan(func(*trace.Record) error {
			if records++; records == 1 {
				return appendText(path, whole[len(whole)/2:]+"\n")
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return records, warnings
	}
	if records, warnings := scan(); records != 1 || warnings != 0 {
		t.Errorf("in the middle of a line: %d records and %d warnings, want 1 and none", records, warnings)
	}
}

func appendText(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(text); err != nil {
		return err
	}
	return f.Close()
}
