package world

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"substrate/internal/testenv"
)

// WLD3: a host that has everything answers with the best strategy. The trial leaves nothing behind,
// and no failure is recorded.
func TestAsk(t *testing.T) {
	asRootAndUser(t, func(t *testing.T) {
		a := newArena(t)
		answers := Ask(Host{Dirs: a.spec.Dirs, Root: a.spec.Root})
		for i, name := range Strategies() {
			if answers[i].Strategy != name {
				t.Errorf("answer %d is about %s, want %s", i, answers[i].Strategy, name)
			}
			for _, c := range answers[i].Checks {
				if c.Name == "" || c.OK != (c.Reason == "") {
					t.Errorf("%s: check %+v", name, c)
				}
			}
		}
		if c := Choose(answers); c.Strategy != "overlay" || len(c.Rejected) != 0 {
			t.Errorf("Choose = %+v", c)
		}
	})
}

// steps runs a command in a world of the arena and returns what the observer saw.
func (a *arena) steps() string {
	var steps []string
	spec := a.spec
	defer func() { a.spec = spec }()
	a.spec.Observe = func(s Step) { steps = append(steps, s.Name+": "+s.Detail) }
	a.run(sh("exit 0"))
	return strings.Join(steps, "\n")
}

// recalled returns the steps of a world for which the failure of the overlay is recorded. It is
// recorded only after a second world has confirmed it, which fails while the machine is short of
// something.
func (a *arena) recalled() (steps string) {
	for range 10 {
		if steps = a.steps(); !strings.Contains(steps, "strategy: overlay") {
			break
		}
	}
	return steps
}

// WLD3: where user namespaces are refused, a user's world falls back. The failure is recorded with
// its remedy. It does not count when the host has changed, when it is old, and for a caller who
// asks for the strategy.
func TestFailures(t *testing.T) {
	testenv.In(t, testenv.Host{User: true, WithoutUserns: true}, func(t *testing.T) {
		a := newArena(t)
		const tried, recalled = "overlay: make a user namespace: ", "overlay: make a user namespace: clone: operation not permitted (found "
		if s := a.steps(); !strings.Contains(s, tried) || strings.Contains(s, "(found ") {
			t.Errorf("first world:\n%s", s)
		}
		if s := a.recalled(); !strings.Contains(s, recalled) || strings.Contains(s, "strategy: overlay") {
			t.Errorf("second world:\n%s", s)
		}
		path := a.dir + "/run/" + failuresFile
		change := func(f func(*failures)) {
			text, err := os.ReadFile(path)
			must(t, err)
			var m failures
			must(t, json.Unmarshal(text, &m))
			f(&m)
			text, err = json.Marshal(m)
			must(t, err)
			must(t, os.WriteFile(path, text, 0o600))
		}
		for name, f := range map[string]func(*failures){
			"another boot": func(m *failures) { m.Host = strings.Replace(m.Host, "boot_id ", "boot_id 0", 1) },
			"an hour ago":  func(m *failures) { m.Failed[0].At = time.Now().Add(-2 * time.Hour) },
		} {
			change(f)
			if s := a.steps(); !strings.Contains(s, "strategy: overlay") {
				t.Errorf("%s:\n%s", name, s)
			}
			if s := a.recalled(); strings.Contains(s, "strategy: overlay") {
				t.Errorf("%s, and again:\n%s", name, s)
			}
		}
		must(t, os.WriteFile(path, []byte("no json"), 0o600))
		if s := a.steps(); !strings.Contains(s, "strategy: overlay") {
			t.Errorf("damaged:\n%s", s)
		}
		c := Choose(Ask(Host{Dirs: a.spec.Dirs}))
		if c.Strategy == "overlay" || len(c.Rejected) == 0 || c.Rejected[0].Remedy == "" {
			t.Errorf("Choose = %+v", c)
		}
		a.spec.Strategy = "overlay"
		w, err := New(a.spec)
		must(t, err)
		defer w.Close()
		if res, err := w.Run(sh("exit 0")); err == nil {
			t.Errorf("asked for: %+v", res)
		}
	})
}
