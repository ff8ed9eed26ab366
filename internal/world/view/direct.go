package view

import (
	"errors"
	"os"

	"substrate/fsdiff"
	"substrate/internal/probe"
)

// ErrUntracked is returned by the Diff of a view that cannot say what the command changed.
var ErrUntracked = errors.New("file changes are not tracked")

// directStrategy is no view at all: the command runs on the host. It is the last resort.
type directStrategy struct{}

func (directStrategy) Name() string { return Direct }

// Checks needs nothing.
func (directStrategy) Checks(bool) []probe.Check { return nil }

// Untested: a trial would only write to the host.
func (directStrategy) Untested() {}

func (directStrategy) Prepare(*Request) (View, error) { return directView{}, nil }

// directView shows the host as it is.
type directView struct{}

func (directView) Mounts() Mounts { return Mounts{} }

func (directView) Diff(*fsdiff.Builder, int) (Found, error) { return Found{}, ErrUntracked }

func (directView) Close() error { return nil }

func (directView) WorkDir(cwd string) string { return cwd }

func (directView) Env(env []string) []string { return env }

func (directView) Confine(...*os.File) error { return nil }
