package shim

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"substrate/internal/config"
	"substrate/internal/version"
)

// Names in the directory of the shims and beside it.
const (
	program      = "substrate-shim" // the links lead to it
	stampName    = ".stamp"         // what was deployed, for the hot path
	metadataName = ".version"       // what was deployed, in full
	removedName  = "shims.removed"  // beside the directory: the user does not want it
)

// binary is the file that the links lead to.
type binary struct {
	path           string // absolute
	dev, ino, size uint64
	mtime          int64 // ns since 1970
}

// beside returns the substrate-shim in the directory of the running program.
func beside() (binary, error) {
	self, err := os.Executable()
	if err != nil {
		return binary{}, err
	}
	b := binary{path: filepath.Join(filepath.Dir(self), program)}
	var st syscall.Stat_t
	if err := syscall.Stat(b.path, &st); err != nil {
		return b, &os.PathError{Op: "stat", Path: b.path, Err: err}
	}
	b.dev, b.ino, b.size, b.mtime = st.Dev, st.Ino, uint64(st.Size), st.Mtim.Nano()
	return b, nil
}

// stamp returns the text of the symbolic link .stamp while the deployment is up to date:
//
//	VERSION:DEV:INO:SIZE:MTIME_NS:TARGET
//
// in decimal numbers as in stat(2), for the substrate-shim that the links lead to, whose path is
// TARGET. Comparing takes one readlink and one stat, and nobody can read half a link. TARGET is
// part of it because moving a directory of programs changes nothing else.
func (b binary) stamp() string {
	var s strings.Builder
	s.WriteString(version.Version)
	for _, n := range [...]uint64{b.dev, b.ino, b.size} {
		s.WriteString(":" + strconv.FormatUint(n, 10))
	}
	s.WriteString(":" + strconv.FormatInt(b.mtime, 10) + ":" + b.path)
	return s.String()
}

// Ready reports whether the shims of cfg go first on PATH: they are deployed and not switched off.
// Every command calls it.
func Ready(cfg config.Config) bool {
	if cfg.ShimDir == "" || cfg.NoShims || cfg.InWorld {
		return false
	}
	have, err := os.Readlink(filepath.Join(cfg.ShimDir, stampName))
	if err != nil {
		return false
	}
	b, err := beside()
	return err == nil && have == b.stamp()
}
