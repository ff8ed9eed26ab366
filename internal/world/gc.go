package world

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"substrate/internal/world/cgroup"
	"substrate/internal/world/net/netns"
)

// Listed is a world that was found on the host.
type Listed struct {
	ID      string    `json:"id,omitempty"`
	Name    string    `json:"name"`
	Alive   bool      `json:"alive"` // its supervisor runs; false: a crash left it
	PID     int       `json:"pid,omitempty"`
	Cwd     string    `json:"cwd,omitempty"`
	Created time.Time `json:"created,omitzero"`

	Strategy string   `json:"strategy,omitempty"` // as far as it was chosen
	Objects  []object `json:"objects,omitempty"`  // what it may have on the host

	Dir     string `json:"dir"`               // state directory, or the upper's if only that is left
	Error   string `json:"error,omitempty"`   // why it could not be removed
	Removed bool   `json:"removed,omitempty"` // by GC
}

// List returns the living worlds and what dead ones left behind, in the order of their names.
func List(dirs Dirs) ([]Listed, error) { return visit(dirs, false) }

// GC removes what dead worlds left behind and returns it. A world whose supervisor lives is
// never touched. With dryRun it only tells.
func GC(dirs Dirs, dryRun bool) ([]Listed, error) {
	all, err := visit(dirs, !dryRun)
	return slices.DeleteFunc(all, func(l Listed) bool { return l.Alive }), err
}

// collectQuietly is the gc before a new world is made. What it cannot remove, `world gc` tells about.
func collectQuietly(dirs Dirs) { _, _ = GC(dirs, false) }

// visit lists all worlds, and removes those that are left over if asked to.
func visit(dirs Dirs, remove bool) ([]Listed, error) {
	var out []Listed
	var errs []error
	for _, run := range dirs.Run {
		list, err := visitDir(filepath.Join(run, "worlds"), remove, func(dir string, s state) error {
			return removeWorld(s, dir, dirs)
		})
		out = append(out, list...)
		errs = append(errs, err)
	}
	for _, root := range dirs.Overlay {
		// What a power cut left: the state directories were in memory.
		list, err := visitDir(root, remove, func(dir string, _ state) error { return removeUpper(dir) })
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

// visitDir looks at each directory in parent that lockDir made and that has the name of a world. A directory that can be
// locked belongs to no living world; clean is called with the lock held.
func visitDir(parent string, remove bool, clean func(dir string, s state) error) ([]Listed, error) {
	entries, err := os.ReadDir(parent)
	if errors.Is(err, os.ErrNotExist) || len(entries) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for worlds: %w", err)
	}
	if checkOwned(parent) != nil {
		return nil, nil // somebody else's: not ours to look into
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
		s := readState(dir)
		l := Listed{ID: s.ID, Name: s.Name, Alive: errors.Is(err, errTaken), PID: s.PID, Cwd: s.Cwd, Created: s.Created, Dir: dir, Strategy: s.Strategy, Objects: s.Objects}
		if err == nil && remove {
			err = clean(dir, s)
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

// removeWorld removes what the dead world s left. The state is text on a disk and may have been damaged, so
// each object is checked to be one that this world could have had.
func removeWorld(s state, dir string, dirs Dirs) error {
	objects := []object{{kindState, dir}}
	for _, o := range s.Objects {
		if o.Kind == kindState {
			continue
		}
		if err := plausible(o, s.Name, dirs); err != nil {
			return err
		}
		if o.Kind == kindUpper {
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
	return removeObjects(objects)
}

// plausible says whether the world name could have made o.
func plausible(o object, name string, dirs Dirs) error {
	ok := CheckName(name) == nil
	switch o.Kind {
	case kindUpper, kindServers:
		within := false
		for _, root := range dirs.Overlay {
			within = within || filepath.Dir(o.Path) == filepath.Clean(root)
		}
		ok = ok && within && filepath.Base(o.Path) == name
	case kindCgroup:
		ok = ok && strings.HasSuffix(o.Path, "/"+cgroup.Subtree+"/"+name)
	case kindNetns:
		ok = ok && o.Path == "substrate-"+name
	default:
		ok = false
	}
	if !ok {
		return fmt.Errorf("world %s: its state names %s %q, which cannot be its own", name, o.Kind, o.Path)
	}
	return nil
}

// removeUpper removes the directory of the uppers. The state names it before it is made, so what is there may
// be somebody else's, which stays.
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
	return removeTree(dir)
}

// removeObjects removes objects in the reverse of the order in which they are made. What is not there is
// no error. The state directory goes last, and only if everything else is gone, so that what could not be removed
// now is found again later.
func removeObjects(objects []object) error {
	var errs []error
	for i := len(objects) - 1; i >= 0; i-- {
		o := objects[i]
		switch o.Kind {
		case kindNetns:
			errs = append(errs, netns.Unbind(o.Path))
		case kindCgroup:
			errs = append(errs, cgroup.Remove(o.Path))
		case kindServers:
			errs = append(errs, endServers(o.Path))
		case kindUpper:
			errs = append(errs, removeUpper(o.Path))
		case kindState:
			if err := errors.Join(errs...); err != nil {
				return err
			}
			errs = append(errs, removeTree(o.Path))
		}
	}
	return errors.Join(errs...)
}
