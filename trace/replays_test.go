package trace

import (
	"os"
	"path/filepath"
	"testing"
)

func TestLastReplay(t *testing.T) { // RPL7
	path := filepath.Join(t.TempDir(), "trace.jsonl")
	write := func(id, of string, done *Completion) {
		t.Helper()
		r := Record{EventType: EventStart, SpanID: id, ReplayOf: of, Cmd: `"replay_of":"spn_1"`, Completion: done}
		if done != nil {
			r.EventType = EventComplete
		}
		if err := Append(path, &r, AppendOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	reader := Reader{Path: path}
	find := func(id, want string) {
		t.Helper()
		got, err := reader.LastReplay(id)
		if err != nil || (got == nil) != (want == "") || got != nil && got.SpanID != want {
			t.Errorf("LastReplay(%s) = %+v, %v, want %q", id, got, err, want)
		}
	}
	find("spn_1", "") // no trace
	carriedOut := func() *Completion { return &Completion{ReplayContext: &ReplayContext{Verdict: &Verdict{}}} }
	write("spn_0", "spn_1", carriedOut()) // before the span itself: not one of it
	write("spn_1", "", nil)
	write("spn_1", "", &Completion{})
	find("spn_1", "")
	write("spn_2", "spn_1", nil)
	find("spn_1", "")
	write("spn_2", "spn_1", carriedOut())
	write("spn_3", "spn_1", &Completion{ReplayContext: &ReplayContext{}}) // refused
	write("spn_4", "spn_11", carriedOut())
	find("spn_1", "spn_2")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	write("spn_5", "", &Completion{})
	find("spn_1", "spn_2")
}
