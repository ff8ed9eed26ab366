package layout

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Host is the FS of this process.
type Host struct{}

// Lstat returns the state of a file. It does not follow a symlink at the end of path.
func (Host) Lstat(path string) (Stat, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return Stat{}, fmt.Errorf("lstat %s: %w", path, err)
	}
	return Stat{
		Mode: st.Mode, UID: int(st.Uid), GID: int(st.Gid), Size: st.Size,
		MtimeSec: int64(st.Mtim.Sec), MtimeNsec: int64(st.Mtim.Nsec),
	}, nil
}

// typeBits translates the types of os.FileMode to those of stat(2).
var typeBits = map[os.FileMode]uint32{
	0: unix.S_IFREG, os.ModeDir: unix.S_IFDIR, os.ModeSymlink: unix.S_IFLNK, os.ModeNamedPipe: unix.S_IFIFO,
	os.ModeSocket: unix.S_IFSOCK, os.ModeDevice: unix.S_IFBLK, os.ModeDevice | os.ModeCharDevice: unix.S_IFCHR,
}

// ReadDir lists a directory, sorted by name.
func (Host) ReadDir(path string) ([]Entry, error) {
	list, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, len(list))
	for i, e := range list {
		entries[i] = Entry{Name: e.Name(), Type: typeBits[e.Type()]}
	}
	return entries, nil
}

// IsEmpty reports whether a directory can be listed and is empty.
func (Host) IsEmpty(path string) bool {
	d, err := os.Open(path)
	if err != nil {
		return false
	}
	defer d.Close()
	_, err = d.Readdirnames(1)
	return errors.Is(err, io.EOF)
}

// Readlink returns the target of a symlink.
func (Host) Readlink(path string) (string, error) { return os.Readlink(path) }

// Rights returns what the effective user may do.
func (Host) Rights(path string) uint32 {
	var rights uint32
	for _, bit := range []uint32{unix.R_OK, unix.W_OK, unix.X_OK} {
		if unix.Faccessat(unix.AT_FDCWD, path, bit, unix.AT_EACCESS) == nil {
			rights |= bit
		}
	}
	return rights
}
