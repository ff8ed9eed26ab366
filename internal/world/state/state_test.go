package state

import (
	"encoding/json"
	"testing"
	"time"
)

// text gives what encoding/json would write, whatever the values are.
func TestStateText(t *testing.T) {
	for _, s := range []World{
		{Objects: []Object{}},
		{ID: "wld_0", Name: "spn_1", Created: time.Date(2026, 1, 2, 3, 4, 5, 60, time.UTC), PID: 7, Cwd: "/a \"b\"\n<\xff>\u2028", Strategy: "overlay", Objects: []Object{{KindState, "/x"}, {KindUpper, "/é\t"}}},
	} {
		want, err := json.Marshal(s)
		if got := string(s.text()); err != nil || got != string(want)+"\n" {
			t.Errorf("text() = %s, want %s (%v)", got, want, err)
		}
	}
}
