package shim

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"substrate/internal/config"
	"substrate/internal/environ"
	"substrate/internal/hostfile"
	"substrate/internal/version"
)

// Reasons why nothing can be deployed, for callers that know a remedy.
var (
	ErrNoHome      = errors.New("no home directory that PATH can name")
	ErrNoProgram   = errors.New("the program that the links lead to cannot be executed")
	ErrForeignHome = errors.New("the home directory belongs to another user")
	ErrInWorld     = errors.New("nothing is deployed inside a world")
)

// site is where shims are deployed, and what they shall be.
type site struct {
	base  string   // ~/.substrate, which holds the lock and the mark of a removal
	dir   string   // of the links
	bin   binary   // what the links lead to
	want  []string // the commands, in the order of SHM2
	known []string // these, and those of the deployment that is there
	path  string   // where to look for the real programs
}

// Ensure says whether the shims of cfg are to stand first on PATH for a command, and before that deploys
// them if they are not there or have drifted, unless they are switched off or the user removed
// them. It prints nothing: a command runs without shims as well, and [Look] finds the reason.
func Ensure(cfg config.Config, env []string) bool {
	if Ready(cfg) {
		return true
	}
	if cfg.ShimDir == "" || cfg.NoShims || cfg.InWorld {
		return false
	}
	if err := deploy(cfg, env, false); err == nil {
		return true
	}
	// Those of an earlier time are better than none, and if they lead nowhere a search along
	// PATH passes over them.
	_, err := os.Stat(filepath.Join(cfg.ShimDir, metadataName))
	return err == nil
}

// Deploy makes the shims of cfg what they shall be, also after [Remove]. It changes nothing if they
// are. The error wraps one of the reasons of this package, or comes from the file system.
func Deploy(cfg config.Config, env []string) error {
	if cfg.InWorld {
		return ErrInWorld
	}
	return deploy(cfg, env, true)
}

// Waiting times for the lock. A deployment takes milliseconds, or tenths of a second where many first commands start at once
// on a busy machine. A command must not hang because somebody stopped one.
const (
	silentWait = 2 * time.Second
	askedWait  = 10 * time.Second
)

// errRemoved is why nothing is deployed unasked.
var errRemoved = errors.New("the shims were removed by --shim-remove")

// deploy is Deploy, and with asked false what the first command does.
func deploy(cfg config.Config, env []string, asked bool) error {
	s, err := newSite(cfg, env)
	if err != nil {
		return err
	}
	mark, wait := filepath.Join(s.base, removedName), askedWait
	if !asked {
		wait = silentWait
		if _, err := os.Lstat(mark); err == nil {
			return errRemoved
		}
	}
	unlock, err := s.lock(wait)
	if err != nil {
		return err
	}
	defer unlock()
	if asked {
		err = removeIfThere(mark)
	} else if _, statErr := os.Lstat(mark); statErr == nil {
		err = errRemoved
	} else if Ready(cfg) { // somebody else was faster
		return nil
	}
	if err != nil {
		return err
	}
	return s.deploy()
}

// newSite finds out all that can be known without writing.
func newSite(cfg config.Config, env []string) (*site, error) {
	if cfg.ShimDir == "" || strings.Contains(cfg.ShimDir, ":") {
		return nil, ErrNoHome
	}
	if st, err := os.Stat(cfg.Home); err != nil {
		return nil, err
	} else if owner := st.Sys().(*syscall.Stat_t).Uid; cfg.UID == 0 && owner != 0 {
		return nil, fmt.Errorf("%w: %s belongs to uid %d", ErrForeignHome, cfg.Home, owner)
	}
	bin, err := beside()
	if err == nil {
		err = unix.Access(bin.path, unix.X_OK)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrNoProgram, bin.path, errnoOf(err))
	}
	settings, err := cfg.LoadSettings()
	if err != nil {
		return nil, err
	}
	_, original := config.ShimsFirst(environ.List(env).Get("PATH"), cfg.ShimDir)
	s := &site{base: cfg.Dir, dir: cfg.ShimDir, bin: bin, want: wanted(settings.Shims), path: original}
	s.known = append(slices.Clone(defaultCommands), s.want...)
	if m, err := readMetadata(s.dir); err == nil {
		s.known = append(s.known, m.Commands...)
	}
	return s, nil
}

// errnoOf is the cause of err without the path that the message has already.
func errnoOf(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// lock takes the lock that all who change the directory hold, and makes the directory above it. The
// lock goes with its file descriptor, which no program inherits.
func (s *site) lock(wait time.Duration) (unlock func(), err error) {
	if err := os.MkdirAll(s.base, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(s.base, "shims.lock"), os.O_CREATE|os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	if err := hostfile.Lock(f, wait); err != nil {
		_ = f.Close()
		return nil, err
	}
	return func() { _ = f.Close() }, nil
}

// deploy does the work, under the lock.
func (s *site) deploy() error {
	s.sweep()
	hash, err := s.bin.hash()
	if err != nil {
		return err
	}
	if m, err := readMetadata(s.dir); err == nil && m.same(s.bin, hash, s.want) && s.linked() {
		if have, err := os.Readlink(filepath.Join(s.dir, stampName)); err == nil && have == s.bin.stamp() {
			return nil
		}
		return s.writeStamp(s.dir)
	}
	m := metadata{
		Version: version.Version, Time: time.Now().UTC().Truncate(time.Second), Commands: s.want,
		Target: s.bin.path, Hash: hash, Programs: s.programs(),
	}
	if st, err := os.Lstat(s.dir); err == nil && (!st.IsDir() || !s.onlyOurs(s.dir)) {
		return s.fill(s.dir, m) // an exchange would take the user's files away for a moment, or their link for good
	}
	err = s.exchange(m)
	if errors.Is(err, errNotBeside) {
		if _, statErr := os.Stat(s.dir); statErr == nil {
			return s.fill(s.dir, m)
		}
	}
	return err
}

// linked says whether each command has its link and no link of ours is left over.
func (s *site) linked() bool {
	for _, name := range s.want {
		if have, err := os.Readlink(filepath.Join(s.dir, name)); err != nil || have != s.bin.path {
			return false
		}
	}
	return len(s.leftOver()) == 0
}

// leftOver are the links to a shim that nobody wants.
func (s *site) leftOver() (names []string) {
	entries, _ := os.ReadDir(s.dir) // what cannot be read is found missing by others
	for _, e := range entries {
		name := e.Name()
		if e.Type()&fs.ModeSymlink != 0 && name != stampName && !slices.Contains(s.want, name) && s.isOurs(s.dir, name) {
			names = append(names, name)
		}
	}
	return names
}

// programs are the paths of the real programs, for shims that have no PATH to search.
func (s *site) programs() map[string]string {
	found := map[string]string{}
	self, err := os.Stat(s.bin.path)
	if err != nil {
		return found
	}
	for _, name := range s.want {
		if path, err := along(name, []string{s.path}, s.dir, self); err == nil && filepath.IsAbs(path) {
			found[name] = path
		}
	}
	return found
}

// errNotBeside is why a deployment has to be made link by link.
var errNotBeside = errors.New("the directory cannot be built beside the old one and exchanged")

// building is how the names of directories begin that are built, or were in use before.
const building = ".shims-"

// exchange builds the directory beside the old one and lets the two change names.
//
// Source: rename(2), RENAME_EXCHANGE.
func (s *site) exchange(m metadata) error {
	next, err := os.MkdirTemp(s.base, building)
	if err != nil {
		return fmt.Errorf("%w: %w", errNotBeside, err)
	}
	err = s.fill(next, m)
	if err == nil {
		err = swap(next, s.dir)
	}
	return errors.Join(err, s.retire(next))
}

// swap lets next take the name of dir, and what is there the name of next.
func swap(next, dir string) error {
	err := unix.Renameat2(unix.AT_FDCWD, next, unix.AT_FDCWD, dir, unix.RENAME_EXCHANGE)
	if err == nil {
		return nil
	}
	if _, statErr := os.Lstat(dir); errors.Is(statErr, fs.ErrNotExist) {
		return renameNew(next, dir)
	}
	return fmt.Errorf("%w: exchange %s and %s: %w", errNotBeside, next, dir, err)
}

// sweep removes what a deployment that was killed left beside the directory. What cannot be removed
// does no harm.
func (s *site) sweep() {
	entries, _ := os.ReadDir(s.base)
	for _, e := range entries {
		old := filepath.Join(s.base, e.Name())
		if !e.IsDir() || !strings.HasPrefix(e.Name(), building) {
			continue
		}
		// The user's files in it wait until there is a directory to move them to.
		if _, err := os.Stat(s.dir); err == nil || s.onlyOurs(old) {
			_ = s.retire(old)
		}
	}
}
