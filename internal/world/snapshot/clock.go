package snapshot

import (
	"os"
	"time"

	"golang.org/x/sys/unix"

	"substrate/internal/world/tree"
)

// probeFile is a file beside the copy by which it is found out how the file system keeps times.
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
	_ = unix.Unlinkat(p.d.FD, p.name, 0) // it goes with the directory at the latest
}

// timesTell says whether whatever is changed below d from now on gets a later ctime than latest, which is that of the last change so far.
// It waits until that is so, for some milliseconds as a rule, as long as times are not rounded to seconds.
// Where the answer is false, the times do not show all changes:
// a clock was set back, or it is the tmpfs of an older kernel, which does not note what is written through a mapping.
func timesTell(d *tree.Dir, latest int64) (bool, error) {
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

// notesMapped says whether a file that is written through a mapping gets new times.
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
		return true, nil // then nobody writes to a file in that way
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
