// Package state keeps account of what worlds have on the host, so that a crash leaves nothing
// behind.
//
// A world has a name, a state directory of that name that is locked while the world lives, and a
// file world.json in it. That file names each [Object] before the object is made, so whoever finds
// a state directory that can be locked knows what to remove: see [GC]. A world removes its objects
// with the same function, [Remove].
//
// The package also chooses the directories in which worlds keep these things, makes the files that
// all worlds share, and counts the worlds that run at once. It does not make worlds.
package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Dirs says where worlds keep their state on the host.
type Dirs struct {
	Run     []string // candidates for the run-time root, first usable one wins: "/run/substrate"
	Overlay []string // candidates for uppers, first usable one wins
}

// The kinds of object that a world makes on the host.
const (
	KindState  = "state"  // the state directory itself: lock, world.json, staging
	KindUpper  = "upper"  // a directory below an overlay root, with everything in it
	KindCgroup = "cgroup" // a cgroup directory
	KindNetns  = "netns"  // a named network namespace

	KindServers = "servers" // the processes that serve mounts with uppers in this directory
)

// Object is something on the host that has a name and must be removed again.
type Object struct {
	Kind string `json:"kind"`
	Path string `json:"path"` // for a netns its name
}

// World is the content of world.json. The file is written before the first of the objects is made,
// so it may name objects that do not exist.
type World struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
	PID     int       `json:"pid"` // of the supervisor
	Cwd     string    `json:"cwd"`

	Strategy string   `json:"strategy"` // the one that was tried last
	Objects  []Object `json:"objects"`  // in the order in which they are made
}

// File is the name of the file in the state directory that holds a [World].
const File = "world.json"

// Write makes File in the state directory dir.
func (w *World) Write(dir string) error {
	if err := writeNew(filepath.Join(dir, File), w.text()); err != nil {
		return fmt.Errorf("write the state of world %s: %w", w.Name, err)
	}
	return nil
}

// Rewrite replaces what Write wrote.
func (w *World) Rewrite(dir string) error {
	next := filepath.Join(dir, File+".new")
	err := writeNew(next, w.text())
	if err == nil {
		err = os.Rename(next, filepath.Join(dir, File))
	}
	if err != nil {
		return fmt.Errorf("rewrite the state of world %s: %w", w.Name, err)
	}
	return nil
}

// text is what [json.Marshal] gives, and a newline. It is written by hand because reflection over
// the types takes a program that has just started longer than everything else that is done with the
// state.
func (w *World) text() []byte {
	b := append([]byte(`{"id":`), quote(w.ID)...)
	b = append(append(b, `,"name":`...), quote(w.Name)...)
	b = append(w.Created.AppendFormat(append(b, `,"created":"`...), time.RFC3339Nano), '"')
	b = strconv.AppendInt(append(b, `,"pid":`...), int64(w.PID), 10)
	b = append(append(b, `,"cwd":`...), quote(w.Cwd)...)
	b = append(append(b, `,"strategy":`...), quote(w.Strategy)...)
	b = append(b, `,"objects":[`...)
	for i, o := range w.Objects {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(b, `{"kind":`...), quote(o.Kind)...)
		b = append(append(append(b, `,"path":`...), quote(o.Path)...), '}')
	}
	return append(b, "]}\n"...)
}

// quote gives s as JSON.
func quote(s string) []byte {
	text, _ := json.Marshal(s) // a string can always be encoded
	return text
}

// writeNew is os.WriteFile for a new, small file, without package os's poller. The file is not
// synced: it names objects of a running machine, and uppers that outlive a power cut are found by
// their place.
func writeNew(path string, text []byte) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	n, err := unix.Write(fd, text)
	if err == nil && n < len(text) {
		err = unix.ENOSPC
	}
	return errors.Join(err, unix.Close(fd))
}

// Read reads what Write wrote. A missing or torn file gives a state that names only the directory:
// if the file is not complete, nothing else had been made.
func Read(dir string) World {
	w := World{}
	text, err := os.ReadFile(filepath.Join(dir, File))
	if err != nil || json.Unmarshal(text, &w) != nil {
		w = World{}
	}
	w.Name = filepath.Base(dir)
	return w
}
