package bench

import (
	"errors"
	"fmt"
	"os"

	"substrate/internal/world"
)

// inProcess returns the variants that make a world without starting a program of ours. They run as
// the user of this process.
func inProcess(a *account) []variant {
	if a.cred != nil {
		return nil
	}
	target := 0.0
	if a.name == "root" {
		target = 3.0 / 6.3
	}
	// The state of worlds is where it is without bench: in memory for root.
	run := a.home + "/run"
	if a.name == "root" {
		run = runDir
	}
	name := "in-process New, Run, diff, Close"
	return []variant{
		{name: name, target: target, run: func() error { return a.world(run, "") }},
		{name: name + "; upper tmpfs", target: target, run: func() error { return a.world(run, "tmpfs") }},
	}
}

// runDir holds the state of the worlds that bench makes as root.
const runDir = "/run/substrate-bench"

// world makes a world, runs true in it and removes it.
func (a *account) world(run, upper string) (err error) {
	w, err := world.New(world.Spec{
		Name:  "spn_bench",
		Dirs:  world.Dirs{Run: []string{run}, Overlay: []string{a.home + "/overlay"}},
		Upper: upper,
		Cwd:   a.home,
		Root:  os.Geteuid() == 0,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	res, err := w.Run(world.Command{Path: "true", Argv: []string{"true"}, Dir: a.home, Env: a.env(), Umask: 0o022})
	if err != nil {
		return err
	}
	if res.Exit != 0 || res.Diff == nil || res.Diff.Counts.Total() != 0 {
		return fmt.Errorf("exit %d, diff %+v, degraded %+v", res.Exit, res.Diff, res.Degraded)
	}
	return nil
}
