package shim

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"substrate/internal/config"
	"substrate/internal/plain"
)

// Remove removes the shims. Only [Deploy] deploys them again. Files in the directory that are not
// ours stay, and Remove returns their names. Without shims it does nothing and returns nil.
func Remove(cfg config.Config) (kept []string, err error) {
	if cfg.ShimDir == "" {
		return nil, ErrNoHome
	}
	s := &site{base: cfg.Dir, dir: cfg.ShimDir, known: slices.Clone(defaultCommands)}
	unlock, err := s.lock(askedWait)
	if err != nil {
		return nil, err
	}
	defer unlock()
	// First the mark: if we are killed after it, no command deploys the rest again.
	if err := os.WriteFile(filepath.Join(s.base, plain.RemovedName), nil, 0o600); err != nil {
		return nil, err
	}
	if m, err := readMetadata(s.dir); err == nil {
		s.known = append(s.known, m.Commands...)
	}
	s.sweep()
	return s.empty()
}

// empty removes what is ours from the directory, the stamp first, and then the directory if it is
// empty.
func (s *site) empty() (kept []string, err error) {
	for _, name := range []string{plain.StampName, plain.MetadataName} {
		if err := removeIfThere(filepath.Join(s.dir, name)); err != nil {
			return nil, err
		}
	}
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !s.isOurs(s.dir, e.Name()) {
			kept = append(kept, e.Name())
			continue
		}
		if err := removeIfThere(filepath.Join(s.dir, e.Name())); err != nil {
			return nil, err
		}
	}
	if st, err := os.Lstat(s.dir); err == nil && st.IsDir() && len(kept) == 0 { // a link to a directory is the user's
		return nil, removeIfThere(s.dir)
	}
	return kept, nil
}
