package shim

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"substrate/internal/config"
	"substrate/internal/environ"
	"substrate/internal/plain"
)

var errNotFound = errors.New("command not found")

// find returns the program that a shim called name stands for. It searches PATH as it was before
// the shims were put in front, then PATH as it is now, and then takes the program that was there
// when the shims were deployed. Below a recorded command it searches PATH as it is now first: the
// two are equal unless a script has changed PATH since (as `nvm use` does behind the shims), and
// then the change counts. The error is errNotFound, or wraps EACCES if none of the files found may
// be executed.
func find(name string, cfg config.Config) (string, error) {
	self, err := os.Stat(plain.OwnProgram)
	if err != nil {
		self = nil
	}
	first, second := cfg.OriginalPath, cfg.Path
	if cfg.SessionID != "" {
		first, second = second, first
	}
	return along(name, []string{first, second, noted(cfg.ShimDir, name)}, cfg.ShimDir, self)
}

// along returns the first executable file called name along lists, each in the form of PATH, that
// is not a shim: not in shimDir, not self, not a link to one.
func along(name string, lists []string, shimDir string, self os.FileInfo) (string, error) {
	var denied error
	for _, list := range lists {
		for path := range environ.Candidates(list, name) {
			err := acceptable(path, self)
			if err == nil && (shimDir == "" || filepath.Dir(path) != shimDir) {
				return path, nil
			}
			if errors.Is(err, syscall.EACCES) {
				denied = &os.PathError{Op: "start", Path: path, Err: err}
			}
		}
	}
	if denied != nil {
		return "", denied
	}
	return "", errNotFound
}

// acceptable returns nil if path is an executable file and no shim, and EACCES if it may not be
// executed.
func acceptable(path string, self os.FileInfo) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() || (self != nil && os.SameFile(st, self)) || isShim(path) {
		return errNotFound
	}
	return unix.Faccessat(unix.AT_FDCWD, path, unix.X_OK, unix.AT_EACCESS)
}

// isShim reports whether path is a link to a shim, also to one of another installation. If we took
// that for the program, the two could start each other for ever.
func isShim(path string) bool {
	if st, err := os.Lstat(path); err != nil || st.Mode()&os.ModeSymlink == 0 {
		return false
	}
	target, err := filepath.EvalSymlinks(path)
	return err == nil && filepath.Base(target) == plain.ShimProgram
}

// noted returns the directory in which deploy found the program; "" if it found none.
func noted(shimDir, name string) string {
	if shimDir == "" {
		return ""
	}
	m, err := readMetadata(shimDir)
	if err != nil || filepath.Base(m.Programs[name]) != name {
		return ""
	}
	return filepath.Dir(m.Programs[name])
}
