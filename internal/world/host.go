package world

import (
	"errors"

	"substrate/internal/world/onhost"
	"substrate/internal/world/state"
	"substrate/internal/world/view"
)

// Forwarded are the signals that reach the command when they are sent to us (RPL10).
var Forwarded = onhost.Forwarded

// RunHost runs a command on the host, without isolation; see [onhost.Run]. The result has no diff
// and no network events. If a signal has come already it returns [Interrupted] instead.
func RunHost(c Command, sigs *Signals) (*Result, error) {
	cmd := onHost(&c)
	cmd.Signals = sigs.wait()
	if sig := sigs.held(); sig != 0 {
		return nil, &Interrupted{Signal: sig, What: "start the command"}
	}
	ended, err := onhost.Run(cmd)
	if ended == nil {
		return nil, err
	}
	res := &Result{}
	res.take(ended)
	return res, err
}

// onHost translates a command. TTY is ignored: the command gets the caller's own terminal.
func onHost(c *Command) onhost.Command {
	return onhost.Command{
		Path: c.Path, Argv: c.Argv, Dir: c.Dir, Env: c.Env, Umask: c.Umask,
		Stdin: c.Stdin, Stdout: c.Stdout, Stderr: c.Stderr, Timeout: c.Timeout, Grace: c.Grace,
	}
}

// take fills in how the command ended.
func (res *Result) take(e *onhost.Ended) {
	res.Exit, res.Signal, res.ExecErr, res.TimedOut = e.Exit, e.Signal, e.ExecErr, e.TimedOut
	res.Started, res.Duration = e.Started, e.Duration
	res.Usage.User, res.Usage.System, res.Usage.MaxRSS = e.User, e.System, e.MaxRSS
}

// runOnHost runs the command with a view that needs no mounts. No namespaces surround it, but the
// processes that it leaves behind end with it, as in every world.
func (w *World) runOnHost(files view.OnHost, cmd *Command) (*Result, error) {
	res := w.newResult()
	if w.spec.Warn != nil {
		for _, d := range append(strategyWarnings(res.Strategy, w.spec.Strategy), viewNotes(files.Mounts())...) {
			if d.Asked {
				w.spec.Warn(d)
			}
		}
	}
	if w.noDivide != nil { // systemd needs a process that waits
		w.report.noGroup(w.spec.Limits, w.noDivide)
	}
	c := onHost(cmd)
	c.Signals = w.spec.Signals.wait()
	c.Dir = files.WorkDir(cmd.Dir)
	c.Env = files.Env(c.Env)
	c.EndAll = true
	c.Confine = func() error {
		return errors.Join(w.signals.interrupted(w.spec.Signals), files.Confine(cmd.Stdout, cmd.Stderr))
	}
	if w.group != nil {
		c.Cgroup, c.InGroup = w.group.FD(), true
	}
	ended, err := onhost.Run(c)
	if w.objects.upperFD >= 0 {
		state.MarkUpper(w.objects.upperFD)
	}
	if err != nil {
		return nil, err
	}
	res.take(ended)
	if w.group != nil && ended.Outside != nil {
		w.report.noGroup(w.spec.Limits, ended.Outside)
	} else if w.group != nil {
		w.report.step("cgroup", "ok", true)
		u := w.group.Usage()
		res.Usage.MemoryPeak, res.Usage.OOMKills = u.MemoryPeak, u.OOMKills
	}
	res.Degraded = append(w.degradations(nil), Degradation{Name: "netns", Asked: true, Message: noNetns})
	w.diff(res)
	return res, nil
}
