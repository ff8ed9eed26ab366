package world

import (
	"errors"

	"substrate/internal/world/onhost"
	"substrate/internal/world/state"
	"substrate/internal/world/view"
)

// Forwarded are the signals that reach the command when they are sent to us (RPL10).
var Forwarded = onhost.Forwarded

// RunHost runs a command on the host, without isolation; see [onhost.Run]. The result has no diff and no network events. After a signal that
// has come already it does not, and gives [Interrupted].
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

// onHost translates a command. A terminal is not replaced: the command gets the caller's own.
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

// runOnHost runs the command with a view that needs no mounts. There are no namespaces around it, but what it
// leaves behind ends with it, as in every world.
func (w *World) runOnHost(files view.OnHost, cmd *Command) (*Result, error) {
	res := w.newResult()
	if w.spec.Warn != nil {
		for _, d := range append(w.strategyWarnings(), w.viewNotes()...) {
			if d.Asked {
				w.spec.Warn(d)
			}
		}
	}
	if w.noDivide != nil {
		w.noGroup(w.noDivide) // systemd could be asked only for a process that waits
	}
	c := onHost(cmd)
	c.Signals = w.spec.Signals.wait()
	c.Dir = files.WorkDir(cmd.Dir)
	c.Env = files.Env(c.Env)
	c.Confine, c.EndAll = func() error { return errors.Join(w.interrupted(), files.Confine(cmd.Stdout, cmd.Stderr)) }, true
	if w.group != nil {
		c.Cgroup, c.InGroup = w.group.FD(), true
	}
	ended, err := onhost.Run(c)
	if w.upperFD >= 0 {
		state.MarkUpper(w.upperFD) // the command could change it, and without its mark the directory would stay
	}
	if err != nil {
		return nil, err
	}
	res.take(ended)
	if w.group != nil && ended.Outside != nil {
		w.noGroup(ended.Outside)
	} else if w.group != nil {
		w.observe("cgroup", "ok", true)
		u := w.group.Usage()
		res.Usage.MemoryPeak, res.Usage.OOMKills = u.MemoryPeak, u.OOMKills
	}
	res.Degraded = append(w.degradations(res), Degradation{Name: "netns", Asked: true, Message: noNetns})
	w.diff(res)
	return res, nil
}
