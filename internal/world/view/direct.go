package view

import (
	"errors"
	"os"

	"substrate/fsdiff"
)

// ErrUntracked is returned by Diff if the view does not know what the command changed.
var ErrUntracked = errors.New("file changes are not tracked")

// directView shows the host as it is.
type directView struct{}

func (directView) Mounts() Mounts { return Mounts{} }

func (directView) Diff(*fsdiff.Builder, int) (Found, error) { return Found{}, ErrUntracked }

func (directView) Close() error { return nil }

func (directView) WorkDir(cwd string) string { return cwd }

func (directView) Env(env []string) []string { return env }

func (directView) Confine(...*os.File) error { return nil }
