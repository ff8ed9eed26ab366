package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"substrate/internal/hostfile"
	"substrate/internal/world/cgroup"
	"substrate/internal/world/net/netns"
)

// Listed is a world that [List] or [GC] found on the host.
type Listed struct {
	ID      string    `json:"id,omitempty"`
	Name    string    `json:"name"`
	Alive   bool      `json:"alive"` // its supervisor runs; false: a crash left it
	PID     int       `json:"pid,omitempty"`
	Cwd     string    `json:"cwd,omitempty"`
	Created time.Time `json:"created,omitzero"`

	Strategy string   `json:"strategy,omitempty"` // as far as it was chosen
	Objects  []Object `json:"objects,omitempty"`  // what it may have on the host

	Dir     string `json:"dir"`               // state directory, or the upper's if only that is left
	Error   string `json:"error,omitempty"`   // why it could not be removed
	Removed bool   `json:"removed,omitempty"` // by GC
}

// List returns the living worlds and what dead ones left behind, sorted by name.
func List(dirs Dirs) ([]Listed, error) { return visit(dirs, false) }

// GC removes what dead worlds left behind and returns it. It never touches a world whose supervisor
// lives. With dryRun it removes nothing.
func GC(dirs Dirs, dryRun bool) ([]Listed, error) {
	all, err := visit(dirs, !dryRun)
	return slices.DeleteFunc(all, func(l Listed) bool { return l.Alive }), err
}

// visit lists all worlds, and removes those that are left over if asked to.
func visit(dirs Dirs, remove bool) ([]Listed, error) {
	var out []Listed
	var errs []error
	for _, run := range dirs.Run {
		list, err := visitDir(filepath.Join(run, "worlds"), remove, func(dir string, w World) error {
			return removeWorld(w, dir, dirs)
		})
		out = append(out, list...)
		errs = append(errs, err)
	}
	for _, root := range dirs.Overlay {
		// What a power cut left: the state directories were in memory.
		list, err := visitDir(root, remove, func(dir string, _ World) error { return removeUpper(dir) })
		errs = append(errs, err)
		for _, l := range list {
			if !slices.ContainsFunc(out, func(o Listed) bool { return o.Name == l.Name }) {
				out = append(out, l)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Listed) int { return strings.Compare(a.Name, b.Name) })
	return out, errors.Join(errs...)
}

// visitDir visits each directory in parent that lockDir made and that has the name of a world. A
// directory that can be locked belongs to no living world; if remove is set, clean is called with
// the lock held.
func visitDir(parent string, remove bool, clean func(dir string, w World) error) ([]Listed, error) {
	entries, err := os.ReadDir(parent)
	if errors.Is(err, os.ErrNotExist) || len(entries) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for worlds: %w", err)
	}
	if CheckOwned(parent) != nil {
		return nil, nil // somebody else's
	}
	var out []Listed
	for _, e := range entries {
		if CheckName(e.Name()) != nil || !e.IsDir() {
			continue
		}
		dir := filepath.Join(parent, e.Name())
		if ours, err := isOurs(dir); err != nil || !ours {
			continue
		}
		fd, err := tryLock(dir)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if errors.Is(err, errTaken) && remove {
			continue
		}
		w := Read(dir)
		l := Listed{ID: w.ID, Name: w.Name, Alive: errors.Is(err, errTaken), PID: w.PID, Cwd: w.Cwd, Created: w.Created, Dir: dir, Strategy: w.Strategy, Objects: w.Objects}
		if err == nil && remove {
			err = clean(dir, w)
			l.Removed = err == nil
		}
		if err != nil && !l.Alive {
			l.Error = err.Error()
		}
		if fd >= 0 {
			_ = unix.Close(fd)
		}
		out = append(out, l)
	}
	return out, nil
}

// removeWorld removes what the dead world w left. The file may be damaged or forged, so each object
// is checked: it must be one that this world could have made.
func removeWorld(w World, dir string, dirs Dirs) error {
	objects := []Object{{KindState, dir}}
	for _, o := range w.Objects {
		if o.Kind == KindState {
			continue
		}
		if err := plausible(o, w.Name, dirs); err != nil {
			return err
		}
		if o.Kind == KindUpper {
			fd, err := tryLock(o.Path)
			if errors.Is(err, unix.ENOENT) {
				continue
			}
			if err != nil {
				return err
			}
			defer func() { _ = unix.Close(fd) }()
		}
		objects = append(objects, o)
	}
	return Remove(objects)
}

// plausible reports why the world name cannot have made o.
func plausible(o Object, name string, dirs Dirs) error {
	ok := CheckName(name) == nil
	switch o.Kind {
	case KindUpper, KindServers:
		within := false
		for _, root := range dirs.Overlay {
			within = within || filepath.Dir(o.Path) == filepath.Clean(root)
		}
		ok = ok && within && filepath.Base(o.Path) == name
	case KindCgroup:
		ok = ok && strings.HasSuffix(o.Path, "/"+cgroup.Subtree+"/"+name)
	case KindNetns:
		ok = ok && o.Path == "substrate-"+name
	default:
		ok = false
	}
	if !ok {
		return fmt.Errorf("world %s: its state names %s %q, which cannot belong to it", name, o.Kind, o.Path)
	}
	return nil
}

// removeUpper removes the directory of the uppers. The state names it before it is made, so a
// directory there may be somebody else's; that one stays.
func removeUpper(dir string) error {
	ours, err := isOurs(dir)
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil
	case err != nil:
		return err
	case !ours:
		return nil
	}
	return hostfile.RemoveTree(dir)
}

// Remove removes objects, the last one first. It is no error if one does not exist. List the state
// directory first: it is removed only if everything else is gone, so that a later gc finds the
// rest.
func Remove(objects []Object) error {
	var errs []error
	for i := len(objects) - 1; i >= 0; i-- {
		o := objects[i]
		switch o.Kind {
		case KindNetns:
			errs = append(errs, netns.Unbind(o.Path))
		case KindCgroup:
			errs = append(errs, cgroup.Remove(o.Path))
		case KindServers:
			errs = append(errs, endServers(o.Path))
		case KindUpper:
			errs = append(errs, removeUpper(o.Path))
		case KindState:
			if err := errors.Join(errs...); err != nil {
				return err
			}
			errs = append(errs, hostfile.RemoveTree(o.Path))
		}
	}
	return errors.Join(errs...)
}
