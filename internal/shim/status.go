package shim

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"substrate/internal/config"
	"substrate/internal/environ"
	"substrate/internal/plain"
	"substrate/internal/version"
)

// Values of [Status].State.
const (
	StateDeployed    = "deployed"
	StateIncomplete  = "incomplete" // links or metadata are missing or wrong
	StateNotDeployed = "not_deployed"
	StateDisabled    = "disabled" // by SUBSTRATE_NO_SHIMS=1; nothing else is looked at
)

// Status is what is deployed, compared with what is wanted. --json prints its JSON.
type Status struct {
	State    string `json:"state"`
	UpToDate bool   `json:"up_to_date"`
	Drifted  bool   `json:"drifted"` // the next command deploys another version, program or content

	Version        string     `json:"version"` // of the deployment; "" if not known
	CurrentVersion string     `json:"current_version"`
	DeployedAt     *time.Time `json:"deployed_at"` // null if not known
	Location       string     `json:"location"`
	Target         string     `json:"target"` // what the links shall lead to; "" if not known

	Commands []string `json:"commands"` // those that shall have a link
	Missing  []string `json:"missing"`  // of these, those without one
	Wrong    []string `json:"wrong"`    // those whose link leads elsewhere, or to nothing that can be executed
	Unwanted []string `json:"unwanted"` // links of ours that shall not be there

	PathFirst bool   `json:"path_first"` // Location is the first entry of PATH
	PathStart string `json:"path_start"` // the first entry of PATH

	Problem string `json:"problem"` // why a deployment would not succeed now; "" if nothing is known against it
}

// Good reports whether there is nothing to do. It decides the exit status.
func (s Status) Good() bool { return s.UpToDate || s.State == StateDisabled }

// Look returns what is deployed. It changes nothing.
func Look(cfg config.Config, env []string) Status {
	s := Status{
		State: StateNotDeployed, CurrentVersion: version.Version, Location: cfg.ShimDir,
		Commands: []string{}, Missing: []string{}, Wrong: []string{}, Unwanted: []string{},
	}
	if cfg.NoShims {
		s.State = StateDisabled
		return s
	}
	s.PathStart, _, _ = strings.Cut(environ.List(env).Get(plain.VarPath), ":")
	s.PathFirst = s.Location != "" && strings.TrimRight(s.PathStart, "/") == s.Location
	site, err := newSite(cfg, env)
	if err != nil {
		s.Problem = err.Error()
		if site = brokenSite(cfg); site == nil {
			return s
		}
	} else if err := writable(site.base); err != nil {
		s.Problem = err.Error()
	}
	s.lookAtLinks(site)
	return s
}

// brokenSite returns a site where nothing can be deployed but something may have been: what is
// wanted is what was deployed. It is nil without a directory.
func brokenSite(cfg config.Config) *site {
	if cfg.ShimDir == "" {
		return nil
	}
	s := &site{base: cfg.Dir, dir: cfg.ShimDir, want: slices.Clone(defaultCommands), known: slices.Clone(defaultCommands)}
	if m, err := readMetadata(s.dir); err == nil {
		s.want, s.known = m.Commands, append(s.known, m.Commands...)
	}
	return s
}

// writable returns why dir cannot be written; nil if it can, or can be made.
func writable(dir string) error {
	err := unix.Access(dir, unix.W_OK)
	if errors.Is(err, fs.ErrNotExist) {
		dir = filepath.Dir(dir)
		err = unix.Access(dir, unix.W_OK)
	}
	if err != nil {
		return &os.PathError{Op: "write to", Path: dir, Err: err}
	}
	return nil
}

// lookAtLinks compares the content of the directory with what is wanted.
func (s *Status) lookAtLinks(site *site) {
	m, err := readMetadata(site.dir)
	if err == nil {
		s.Version, s.DeployedAt = m.Version, &m.Time
	}
	stamp, stampErr := os.Readlink(filepath.Join(site.dir, plain.StampName))
	yields := err == nil && stampErr == nil && site.bin.yieldsTo(stamp)
	if yields {
		site.want = m.Commands
	}
	s.Commands = site.want
	s.Target = site.target(m)
	s.compare(site)
	if errors.Is(err, fs.ErrNotExist) && len(s.Missing) == len(s.Commands) {
		s.Commands, s.Missing, s.Unwanted = []string{}, []string{}, []string{}
		return
	}
	if err != nil || len(s.Missing)+len(s.Wrong) > 0 {
		s.State = StateIncomplete
		return
	}
	s.State = StateDeployed
	s.Drifted = !yields && (m.Version != version.Version || !site.isSource(m))
	s.UpToDate = !s.Drifted && len(s.Unwanted) == 0
}

// target returns where the links should lead until the next deployment: the target in the metadata
// or, if that is unknown, the program beside this one.
func (s *site) target(m metadata) string {
	if m.Target == "" || m.Target == strings.ToValidUTF8(s.bin.Path, "\ufffd") {
		return s.bin.Path
	}
	return m.Target
}

// isSource reports whether m was deployed from the program beside this one, as it is now. It is
// true if there is no such program.
func (s *site) isSource(m metadata) bool {
	if s.bin.Path == "" {
		return true
	}
	hash, err := s.bin.hash()
	return err == nil && m.same(s.bin, hash, m.Commands)
}

// compare checks each link.
func (s *Status) compare(site *site) {
	runs := unix.Access(s.Target, unix.X_OK) == nil
	for _, name := range s.Commands {
		path := filepath.Join(site.dir, name)
		target, err := os.Readlink(path)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR):
			s.Missing = append(s.Missing, name)
		case err != nil, target != s.Target, !runs:
			s.Wrong = append(s.Wrong, name)
		}
	}
	if names := site.leftOver(); names != nil {
		s.Unwanted = names
	}
}
