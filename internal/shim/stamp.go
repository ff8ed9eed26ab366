package shim

import (
	"os"
	"path/filepath"
	"syscall"

	"substrate/internal/config"
	"substrate/internal/plain"
	"substrate/internal/version"
)

// binary is the file that the links lead to.
type binary struct{ plain.File }

// beside returns the substrate-shim in the directory of the running program.
func beside() (binary, error) {
	self, err := os.Executable()
	if err != nil {
		return binary{}, err
	}
	b := binary{plain.File{Path: filepath.Join(filepath.Dir(self), plain.ShimProgram)}}
	var st syscall.Stat_t
	if err := syscall.Stat(b.Path, &st); err != nil {
		return b, &os.PathError{Op: "stat", Path: b.Path, Err: err}
	}
	b.Dev, b.Ino, b.Size, b.Mtime = st.Dev, st.Ino, st.Size, st.Mtim.Nano()
	return b, nil
}

// stamp returns the text of the symbolic link .stamp while the deployment is up to date.
func (b binary) stamp() string {
	text := plain.Growing(nil)
	return text.Stamp(version.Version, b.File).String()
}

// yieldsTo reports whether the shims with this stamp stay although b would deploy others: they lead
// to the program of another installation that is at least as new, and still there.
func (b binary) yieldsTo(stamp string) bool {
	var st syscall.Stat_t
	other := plain.Newer(stamp, version.Version, b.Path)
	return other != "" && syscall.Stat(other, &st) == nil && st.Mode&0o111 != 0
}

// Ready reports whether the shims of cfg go first on PATH: they are deployed and not switched off.
// Every command calls it.
func Ready(cfg config.Config) bool {
	if cfg.ShimDir == "" || cfg.NoShims || cfg.InWorld {
		return false
	}
	have, err := os.Readlink(filepath.Join(cfg.ShimDir, plain.StampName))
	if err != nil {
		return false
	}
	b, err := beside()
	return err == nil && (have == b.stamp() || b.yieldsTo(have))
}
