package bench

import (
	"errors"
	"fmt"
	"os"

	"substrate/internal/world"
)

// inProcess gives the variants that make a world without starting a program of ours. They
// can only be what this process is.
func inProcess(a *account) []variant {
	if a.cred != nil {
		return nil
	}
	target := 0.0
	if a.name == "root" {
		target = 3.0 / 6.3
	}
	name := "in-process New, Run, diff, Close"
	return []variant{
		{name: name, target: target, run: func() error { return a.world("") }},
		{name: name + "; upper tmpfs", target: target, run: func() error { return a.world("tmpfs") }},
	}
}

// world makes a world, runs true in it and removes it.
func (a *account) world(upper string) (err error) {
	w, err := world.New(world.Spec{
		Name:  "spn_bench",
		Dirs:  world.Dirs{Run: []string{a.home + "/run"}, Overlay: []string{a.home + "/overlay"}},
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
