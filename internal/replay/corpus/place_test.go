package corpus

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// givenTime is the time of all files before a command runs, so that listings are equal.
var givenTime = time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)

// identity is who runs the commands.
type identity struct {
	name     string // "root" or "user"
	uid, gid int
	switched bool   // the runner is root and switches to it
	base     string // its own directory, for everything below
}

// attr sets the identity and a new session, so that the process has no terminal and signals to its
// group do not reach us.
func (id *identity) attr() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setsid: true}
	if id.switched {
		attr.Credential = &syscall.Credential{Uid: uint32(id.uid), Gid: uint32(id.gid)}
	}
	return attr
}

// own makes the identity the owner of a file.
func (id *identity) own(path string) error {
	if !id.switched {
		return nil
	}
	return os.Lchown(path, id.uid, id.gid)
}

// place is the directory of one snippet. Its paths are the same in all runs.
type place struct {
	id    *identity
	s     *snippet
	dir   string // holds work and home
	store string // holds the trace, outside dir
}

func newPlace(id *identity, s *snippet) *place {
	return &place{id: id, s: s, dir: filepath.Join(id.base, "case", s.name), store: filepath.Join(id.base, "store", s.name)}
}

func (p *place) work() string  { return filepath.Join(p.dir, "work") }
func (p *place) home() string  { return filepath.Join(p.dir, "home") }
func (p *place) trace() string { return filepath.Join(p.store, "trace.jsonl") }
func (p *place) cwd() string   { return filepath.Join(p.work(), p.s.cwd) }

// stdinPath is the file that the command reads as stdin.
func (p *place) stdinPath() string {
	if p.s.stdin == nil {
		return os.DevNull
	}
	return filepath.Join(p.store, "stdin")
}

// snapshot reads both directories, except a store that substrate may make in the home.
func (p *place) snapshot() (tree, error) {
	return snapshot([]string{filepath.Join(p.home(), ".substrate")}, p.work(), p.home())
}

// fresh makes the directories again and returns their content.
func (p *place) fresh() (tree, error) {
	if err := p.remove(p.dir); err != nil {
		return nil, err
	}
	for _, d := range []string{p.dir, p.work(), p.home()} {
		if err := p.mkdir(d); err != nil {
			return nil, err
		}
	}
	for _, e := range p.s.setup {
		if err := p.add(e); err != nil {
			return nil, fmt.Errorf("set up %s: %w", e.path, err)
		}
	}
	if err := p.age(); err != nil {
		return nil, err
	}
	return p.snapshot()
}

// openStore makes the directory for the trace and the file for stdin.
func (p *place) openStore() error {
	if err := p.mkdir(p.store); err != nil {
		return err
	}
	if p.s.stdin == nil {
		return nil
	}
	if err := os.WriteFile(p.stdinPath(), []byte(*p.s.stdin), 0o644); err != nil {
		return err
	}
	return p.id.own(p.stdinPath())
}

// mkdir makes a directory and its parents, owned by the identity.
func (p *place) mkdir(dir string) error {
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		if err := p.mkdir(filepath.Dir(dir)); err != nil {
			return err
		}
		err = os.Mkdir(dir, 0o755)
	}
	if err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	return p.id.own(dir)
}

// resolve returns the absolute path of a name in a set-up entry.
func (p *place) resolve(name string) string {
	if rel, ok := strings.CutPrefix(name, "~/"); ok {
		return filepath.Join(p.home(), rel)
	}
	return p.work() + "/" + name
}

// add makes one entry.
func (p *place) add(e entry) error {
	path := p.resolve(e.path)
	if e.kind == "dir" {
		return p.mkdir(path)
	}
	if err := p.mkdir(filepath.Dir(path)); err != nil {
		return err
	}
	switch e.kind {
	case "symlink":
		if err := os.Symlink(e.target, path); err != nil {
			return err
		}
	case "hardlink":
		return os.Link(p.resolve(e.target), path)
	default:
		if err := writeFile(path, e.data); err != nil {
			return err
		}
		if err := os.Chmod(path, e.mode); err != nil {
			return err
		}
	}
	return p.id.own(path)
}

// writeFile writes a file while no process is being forked. A child that briefly inherits the open
// file would make executing it fail with "Text file busy".
func writeFile(path, data string) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return os.WriteFile(path, []byte(data), 0o600)
}

// age sets the time of everything in the work directory to givenTime.
func (p *place) age() error {
	at := syscall.NsecToTimespec(givenTime.UnixNano())
	return filepath.WalkDir(p.work(), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&fs.ModeSymlink != 0 {
			return err
		}
		return syscall.UtimesNano(path, []syscall.Timespec{at, at})
	})
}

// remove removes a directory, even if commands made parts of it inaccessible.
func (p *place) remove(dir string) error {
	if err := os.RemoveAll(dir); err == nil {
		return nil
	}
	// Errors are ignored here; RemoveAll fails again and reports them.
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, _ error) error {
		if d != nil && d.IsDir() {
			_ = os.Chmod(path, 0o700)
		}
		return nil
	})
	return os.RemoveAll(dir)
}
