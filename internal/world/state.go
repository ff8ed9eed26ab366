package world

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

// The kinds of object that a world makes on the host.
const (
	kindState  = "state"  // the state directory itself: lock, world.json, staging
	kindUpper  = "upper"  // a directory below an overlay root, with everything in it
	kindCgroup = "cgroup" // a cgroup directory
	kindNetns  = "netns"  // a named network namespace

	kindServers = "servers" // the processes that serve mounts with uppers in this directory
)

// object is something on the host that has a name and must be removed again.
type object struct {
	Kind string `json:"kind"`
	Path string `json:"path"` // for a netns its name
}

// state is the content of world.json. It is written before the first of its objects is made,
// so it may name objects that are not there.
type state struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
	PID     int       `json:"pid"` // of the supervisor
	Cwd     string    `json:"cwd"`

	Strategy string   `json:"strategy"` // the one that was tried last
	Objects  []object `json:"objects"`  // in the order in which they are made
}

const stateFile = "world.json"

// write puts the state into dir. It is not synced: it names objects of a running machine, and those on disk that
// outlive a power cut are found by their place.
func (s *state) write(dir string) error {
	if err := writeFile(filepath.Join(dir, stateFile), s.text()); err != nil {
		return fmt.Errorf("write the state of world %s: %w", s.Name, err)
	}
	return nil
}

// text is what [json.Marshal] gives, and a newline. Written out it spares a program that has just started the look at the types, which
// takes longer than all else that happens to the state.
func (s *state) text() []byte {
	b := append([]byte(`{"id":`), quote(s.ID)...)
	b = append(append(b, `,"name":`...), quote(s.Name)...)
	b = append(s.Created.AppendFormat(append(b, `,"created":"`...), time.RFC3339Nano), '"')
	b = strconv.AppendInt(append(b, `,"pid":`...), int64(s.PID), 10)
	b = append(append(b, `,"cwd":`...), quote(s.Cwd)...)
	b = append(append(b, `,"strategy":`...), quote(s.Strategy)...)
	b = append(b, `,"objects":[`...)
	for i, o := range s.Objects {
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
	text, _ := json.Marshal(s) // a string can always be written
	return text
}

// rewrite replaces what write wrote.
func (s *state) rewrite(dir string) error {
	next := filepath.Join(dir, stateFile+".new")
	err := writeFile(next, s.text())
	if err == nil {
		err = os.Rename(next, filepath.Join(dir, stateFile))
	}
	if err != nil {
		return fmt.Errorf("write the state of world %s anew: %w", s.Name, err)
	}
	return nil
}

// writeFile is os.WriteFile for a new, small file, without the detour over the poller.
func writeFile(path string, text []byte) error {
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

// readState reads what write wrote. A missing or torn file gives a state that names only the
// directory: nothing else had been made when the file was not whole.
func readState(dir string) state {
	s := state{}
	text, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil || json.Unmarshal(text, &s) != nil {
		s = state{}
	}
	s.Name = filepath.Base(dir)
	return s
}
