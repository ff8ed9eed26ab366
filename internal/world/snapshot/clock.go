package snapshot

import (
	"os"
	"time"

	"golang.org/x/sys/unix"

	"substrate/internal/world/tree"
)

// probeFile is a file in the directory of the copy that shows how the file system keeps times.
type probeFile struct {
	d    *tree.Dir
	name string
	fd   int
}

func newProbeFile(d *tree.Dir) (*probeFile, error) {
	p := &probeFile{d: d, name: "times"}
	var err error
	p.fd, err = unix.Openat(d.FD, p.name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, &os.PathError{Op: "create", Path: p.name, Err: err}
	}
	return p, nil
}

func removeProbe(p *probeFile) {
	_ = unix.Close(p.fd)
	_ = unix.Unlinkat(p.d.FD, p.name, 0) // it is removed with the directory at the latest
}

// changesShow reports whether every change below d from now on gets a later ctime than latest, the
// newest ctime so far. It waits until that is so, usually some milliseconds, but gives up if times
// are rounded to seconds. If it returns false, times do not show all changes: a clock was set back,
// or it is the tmpfs of an older kernel, which does not update times on writes through a mapping.
func changesShow(d *tree.Dir, latest int64) (bool, error) {
	p, err := newProbeFile(d)
	if err != nil {
		return false, err
	}
	defer removeProbe(p)
	if noted, err := p.notesMapped(); !noted || err != nil {
		return false, err
	}
	for range 3000 {
		var st unix.Stat_t
		if err := unix.UtimesNanoAt(d.FD, p.name, []unix.Timespec{{Nsec: unix.UTIME_NOW}, {Nsec: unix.UTIME_NOW}}, 0); err != nil {
			return false, &os.PathError{Op: "utimensat", Path: p.name, Err: err}
		}
		if err := unix.Fstat(p.fd, &st); err != nil {
			return false, &os.PathError{Op: "stat", Path: p.name, Err: err}
		}
		if st.Ctim.Nano() > latest {
			return true, nil
		}
		time.Sleep(time.Millisecond)
	}
	return false, nil
}

// notesMapped reports whether a file gets new times when it is written through a mapping.
func (p *probeFile) notesMapped() (bool, error) {
	size := os.Getpagesize()
	if err := unix.Ftruncate(p.fd, int64(size)); err != nil {
		return false, &os.PathError{Op: "truncate", Path: p.name, Err: err}
	}
	if err := unix.UtimesNanoAt(p.d.FD, p.name, []unix.Timespec{{Sec: 1}, {Sec: 1}}, 0); err != nil {
		return false, &os.PathError{Op: "utimensat", Path: p.name, Err: err}
	}
	mapped, err := unix.Mmap(p.fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return true, nil // then nobody can write in that way
	}
	mapped[0] = 1
	if err := unix.Munmap(mapped); err != nil {
		return false, &os.PathError{Op: "munmap", Path: p.name, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(p.fd, &st); err != nil {
		return false, &os.PathError{Op: "stat", Path: p.name, Err: err}
	}
	return st.Mtim.Sec != 1, nil
}
