package world

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// WLD8: a world that gets the first strategy it tries writes its state once: what was written before anything was made is what stands there.
func TestStateIsWrittenOnce(t *testing.T) {
	asRootAndUser(t, func(t *testing.T) {
		spec := testSpec(t, t.TempDir())
		var before os.FileInfo
		defer func(old func(object)) { fault = old }(fault)
		fault = func(o object) {
			if o.Kind == "world.json" {
				before, _ = os.Stat(filepath.Join(o.Path, stateFile))
			}
		}
		w, err := New(spec)
		if err != nil {
			t.Fatal(err)
		}
		after, err := os.Stat(filepath.Join(w.dir, stateFile))
		if err != nil || before == nil || !os.SameFile(before, after) {
			t.Errorf("the state was %v at first and is %v (%v), want the same file", before, after, err)
		}
		if s := readState(w.dir); s.Strategy != w.strategy || s.Strategy == "" {
			t.Errorf("the state names strategy %q, want %q", s.Strategy, w.strategy)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
}

// The state is what encoding/json would write, whatever is in it.
func TestStateText(t *testing.T) {
	for _, s := range []state{
		{Objects: []object{}},
		{ID: "wld_0", Name: "spn_1", Created: time.Date(2026, 1, 2, 3, 4, 5, 60, time.UTC), PID: 7, Cwd: "/a \"b\"\n<\xff>\u2028", Strategy: "overlay", Objects: []object{{kindState, "/x"}, {kindUpper, "/é\t"}}},
	} {
		want, err := json.Marshal(s)
		if got := string(s.text()); err != nil || got != string(want)+"\n" {
			t.Errorf("text() = %s, want %s (%v)", got, want, err)
		}
	}
}
