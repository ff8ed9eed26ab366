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
	"substrate/internal/plain"
	"substrate/internal/version"
)

// Reasons why shims cannot be deployed. Callers know remedies.
var (
	ErrNoHome      = errors.New("no home directory that PATH can name")
	ErrNoProgram   = errors.New("the program that the links lead to cannot be executed")
	ErrForeignHome = errors.New("the home directory belongs to another user")
	ErrInWorld     = errors.New("nothing is deployed inside a world")
)

// site is where shims are deployed, and which ones are wanted.
type site struct {
	base  string   // ~/.substrate, which holds the lock and the mark of a removal
	dir   string   // of the links
	bin   binary   // what the links lead to
	want  []string // the commands, in the order of SHM2
	known []string // these, and those of the deployment that is there
	path  string   // where to look for the real programs
}

// Ensure reports whether the shims of cfg go first on PATH for a command. It first deploys them if
// they are missing or wrong, unless they are switched off or the user removed them. It reports no
// error: a command runs without shims as well, and [Look] finds the reason.
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
	// Old shims are better than none, and a search along PATH skips links that lead nowhere.
	_, err := os.Stat(filepath.Join(cfg.ShimDir, plain.MetadataName))
	return err == nil
}

// Deploy deploys the shims of cfg, also after [Remove]. It changes nothing if they are up to date.
// The error wraps one of the reasons of this package, or comes from the file system.
func Deploy(cfg config.Config, env []string) error {
	if cfg.InWorld {
		return ErrInWorld
	}
	return deploy(cfg, env, true)
}

// How long to wait for the lock. A deployment takes milliseconds, or tenths of a second if many
// first commands start at once on a busy machine. A command must not hang because another one is
// stopped.
const (
	silentWait = 2 * time.Second
	askedWait  = 10 * time.Second
)

// errRemoved is why a command does not deploy shims.
var errRemoved = errors.New("the shims were removed by --shim-remove")

// deploy is Deploy if asked is true, and otherwise what a command does.
func deploy(cfg config.Config, env []string, asked bool) error {
	s, err := newSite(cfg, env)
	if err != nil {
		return err
	}
	mark, wait := filepath.Join(s.base, plain.RemovedName), askedWait
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

// newSite collects everything about a site without writing.
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
		err = unix.Access(bin.Path, unix.X_OK)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrNoProgram, bin.Path, errnoOf(err))
	}
	settings, err := cfg.LoadSettings()
	if err != nil {
		return nil, err
	}
	_, original := config.ShimsFirst(environ.List(env).Get(plain.VarPath), cfg.ShimDir)
	s := &site{base: cfg.Dir, dir: cfg.ShimDir, bin: bin, want: wanted(settings.Shims), path: original}
	s.known = append(slices.Clone(defaultCommands), s.want...)
	if m, err := readMetadata(s.dir); err == nil {
		s.known = append(s.known, m.Commands...)
	}
	return s, nil
}

// errnoOf returns the cause of err without the path, which the message already has.
func errnoOf(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// lock takes the lock under which the directory changes. It makes the directory above it.
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
		if have, err := os.Readlink(filepath.Join(s.dir, plain.StampName)); err == nil && have == s.bin.stamp() {
			return nil
		}
		return s.writeStamp(s.dir)
	}
	m := metadata{
		Version: version.Version, Time: time.Now().UTC().Truncate(time.Second), Commands: s.want,
		Target: s.bin.Path, Hash: hash, Programs: s.programs(),
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

// linked reports whether each command has its link and no other link is left over.
func (s *site) linked() bool {
	for _, name := range s.want {
		if have, err := os.Readlink(filepath.Join(s.dir, name)); err != nil || have != s.bin.Path {
			return false
		}
	}
	return len(s.leftOver()) == 0
}

// leftOver returns the links to a shim that are not wanted.
func (s *site) leftOver() (names []string) {
	entries, _ := os.ReadDir(s.dir) // others notice what cannot be read
	for _, e := range entries {
		name := e.Name()
		if e.Type()&fs.ModeSymlink != 0 && name != plain.StampName && !slices.Contains(s.want, name) && s.isOurs(s.dir, name) {
			names = append(names, name)
		}
	}
	return names
}

// programs returns the paths of the real programs, for shims that have no PATH to search.
func (s *site) programs() map[string]string {
	found := map[string]string{}
	self, err := os.Stat(s.bin.Path)
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

// errNotBeside is why shims are deployed link by link.
var errNotBeside = errors.New("the directory cannot be built beside the old one and exchanged")

// building begins the names of directories that are being built, or were in use before.
const building = ".shims-"

// exchange builds the directory beside the old one and exchanges their names.
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

// swap exchanges the names of next and dir. dir may be missing.
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

// sweep removes what a killed deployment left beside the directory. Errors are ignored: what stays
// does no harm.
func (s *site) sweep() {
	entries, _ := os.ReadDir(s.base)
	for _, e := range entries {
		old := filepath.Join(s.base, e.Name())
		if !e.IsDir() || !strings.HasPrefix(e.Name(), building) {
			continue
		}
		// Files of the user in it stay until there is a directory to move them to.
		if _, err := os.Stat(s.dir); err == nil || s.onlyOurs(old) {
			_ = s.retire(old)
		}
	}
}
