package rerun

import (
	"cmp"
	"errors"
	"path/filepath"
	"time"

	"substrate/internal/config"
	"substrate/internal/environ"
	"substrate/internal/record"
	"substrate/internal/vault"
	"substrate/internal/world"
	"substrate/trace"
)

// execution is what came of executing the plan.
type execution struct {
	result          *world.Result
	world           *world.World  // that was made, and is still to be closed; nil on the host
	setup, teardown time.Duration // of the world; 0 on the host
}

// execute runs the command on the host or in a world. The id is that of the span.
func (o *Options) execute(id string, out output, signals *world.Signals) (execution, error) {
	cmd := o.Plan.Command()
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Timeout = o.Stdin, out.stdout, out.stderr, o.Timeout
	cmd.TTY = o.TTY && out.tap == nil
	if !o.World {
		res, err := world.RunHost(cmd, signals)
		return execution{result: res}, err
	}
	began := time.Now()
	w, err := world.New(o.spec(id, signals))
	if err != nil {
		return execution{}, err
	}
	cmd.Env = append(cmd.Env, "SUBSTRATE_IN_WORLD=1")
	res, err := w.Run(cmd)
	e := execution{result: res, world: w}
	err = errors.Join(err, w.Dismantle())
	if res != nil && o.Config.Log != "" {
		logResult(res)
	}
	if res != nil && !res.Started.IsZero() {
		e.setup = res.Started.Sub(began)
		e.teardown = time.Since(res.Started) - res.Duration
	}
	return e, err
}

// spec is the world to make. It is named after the span that is replayed, or its own span (WLD6).
func (o *Options) spec(id string, signals *world.Signals) world.Spec {
	cfg := o.Config
	return world.Spec{
		Name:     world.NameOf(cmp.Or(o.Plan.ReplayOf, id)),
		Dirs:     Dirs(cfg),
		Strategy: cmp.Or(o.Strategy, cfg.Strategy),
		Require:  o.Require,
		Upper:    o.Upper,
		Hide:     hidden(cfg),
		Cwd:      o.Plan.Cwd,
		Likely:   likely(o.Plan.Env),
		Temp:     tempOf(o.Plan.Env),
		DiffMax:  cfg.DiffMax,
		Limits:   o.Limits,
		Slots:    world.Slots{Max: cfg.WorldMax, Waiting: o.Watch.Waiting},
		Signals:  signals,
		Bus:      cfg.Bus,
		Root:     cfg.Root,
		Observe:  o.observer(),
		Warn:     o.Watch.Degraded,
		CopyMax:  o.CopyMax,
		Copying:  o.Watch.Copying,
	}
}

// observer logs each step and passes it to the caller; nil if neither is wanted.
func (o *Options) observer() func(world.Step) {
	switch watch := o.Watch.Step; {
	case o.Config.Log == "":
		return watch
	case watch == nil:
		return logStep
	default:
		return func(s world.Step) {
			logStep(s)
			watch(s)
		}
	}
}

// Dirs are the directories where worlds keep their state.
func Dirs(cfg config.Config) world.Dirs {
	return world.Dirs{Run: cfg.RunRoots, Overlay: cfg.OverlayRoots}
}

// likely lists the directories besides the working directory that programs write to.
func likely(env []string) []string {
	var dirs []string
	for name, value := range environ.List(env).All() {
		switch name {
		case "HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME":
			if filepath.IsAbs(value) {
				dirs = append(dirs, value)
			}
		}
	}
	return dirs
}

// tempOf is TMPDIR of an environment; "" if it is not set, or not to an absolute path.
func tempOf(env []string) string {
	if dir := environ.List(env).Get("TMPDIR"); filepath.IsAbs(dir) {
		return dir
	}
	return ""
}

// hidden lists substrate's own store, which no world can see.
func hidden(cfg config.Config) []string {
	var paths []string
	store := []string{cfg.Dir}
	if cfg.Trace != "" {
		store = append(store, cfg.Trace, vault.Path(cfg.Trace), record.CaptureDir(cfg.Trace), outputDir(cfg))
		if !below(cfg.Dir, cfg.Trace) {
			store = append(store, trace.Beside(cfg.Trace)...)
		}
	}
	for _, p := range store {
		if p != "" && (cfg.Dir == p || !below(cfg.Dir, p)) {
			paths = append(paths, p)
		}
	}
	return paths
}

// below reports whether path lies below dir.
func below(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return dir != "" && err == nil && filepath.IsLocal(rel)
}
