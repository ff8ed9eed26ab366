//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package trace

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// nonblock keeps a named pipe in the place of a trace from blocking a reader.
const nonblock = syscall.O_NONBLOCK

// file is an open trace. It is a bare descriptor: an os.File would add it to the runtime's poller,
// which costs system calls and is of no use for a regular file.
type file struct {
	fd   int
	path string
	id   fileID

	lockless bool // its file system does not support locks
}

// fileID identifies a file.
type fileID struct{ dev, ino uint64 }

// fileState is what a writer needs to know about a file.
type fileState struct {
	id      fileID
	size    int64 // bytes
	regular bool
	linked  bool // has a name somewhere
}

// openFile opens path for appending. O_NONBLOCK keeps a named pipe from blocking us and O_NOCTTY a
// terminal from becoming ours; neither has a meaning for a regular file.
func openFile(path string, create bool) (*file, error) {
	flags := syscall.O_RDWR | syscall.O_APPEND | syscall.O_CLOEXEC | syscall.O_NONBLOCK | syscall.O_NOCTTY
	if create {
		flags |= syscall.O_CREAT
	}
	fd, err := retry(func() (int, error) { return syscall.Open(path, flags, 0o600) })
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	f := &file{fd: fd, path: path}
	if create { // the umask may have taken our own rights away
		if err := syscall.Fchmod(fd, 0o600); err != nil {
			return nil, errors.Join(f.error("chmod", err), f.close())
		}
	}
	return f, nil
}

// lock takes the lock, or fails with ErrLocked after wait. It polls, since flock has no timeout. If
// the file system has no locks it succeeds without one: appending is still safe, only rotation is
// not.
func (f *file) lock(exclusive bool, wait time.Duration) error {
	how := syscall.LOCK_SH | syscall.LOCK_NB
	if exclusive {
		how = syscall.LOCK_EX | syscall.LOCK_NB
	}
	var waited, pause time.Duration = 0, time.Millisecond
	for {
		_, err := retry(func() (int, error) { return 0, syscall.Flock(f.fd, how) })
		switch {
		case err == nil:
			return nil
		case errors.Is(err, syscall.ENOLCK), errors.Is(err, syscall.ENOSYS), errors.Is(err, syscall.EOPNOTSUPP):
			f.lockless = true
			return nil
		case !errors.Is(err, syscall.EWOULDBLOCK):
			return f.error("flock", err)
		case waited >= wait:
			return f.error("flock", ErrLocked)
		}
		time.Sleep(pause)
		waited += pause
		pause = min(2*pause, 20*time.Millisecond)
	}
}

func (f *file) unlock() error {
	err := syscall.Flock(f.fd, syscall.LOCK_UN)
	if err != nil && !errors.Is(err, syscall.ENOLCK) && !errors.Is(err, syscall.ENOSYS) && !errors.Is(err, syscall.EOPNOTSUPP) {
		return f.error("unlock", err)
	}
	return nil
}

func (f *file) stat() (fileState, error) {
	var st syscall.Stat_t
	if _, err := retry(func() (int, error) { return 0, syscall.Fstat(f.fd, &st) }); err != nil {
		return fileState{}, f.error("stat", err)
	}
	return stateOf(&st), nil
}

func statPath(path string) (fileState, error) {
	var st syscall.Stat_t
	if _, err := retry(func() (int, error) { return 0, syscall.Stat(path, &st) }); err != nil {
		return fileState{}, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return stateOf(&st), nil
}

func stateOf(st *syscall.Stat_t) fileState {
	return fileState{
		id:      fileID{dev: uint64(st.Dev), ino: uint64(st.Ino)}, // the types differ between systems
		size:    st.Size,
		regular: st.Mode&syscall.S_IFMT == syscall.S_IFREG,
		linked:  st.Nlink > 0,
	}
}

func (f *file) byteAt(off int64) (byte, error) {
	var b [1]byte
	n, err := retry(func() (int, error) { return syscall.Pread(f.fd, b[:], off) })
	if err != nil {
		return 0, f.error("read", err)
	}
	if n == 0 {
		return 0, io.EOF
	}
	return b[0], nil
}

// write calls write(2) once, and repeats it only if a signal came before the first byte.
func (f *file) write(b []byte) (int, error) {
	n, err := retry(func() (int, error) { return syscall.Write(f.fd, b) })
	if err != nil {
		return max(n, 0), f.error("write", err)
	}
	return n, nil
}

// position returns where the last write ended.
func (f *file) position() (int64, error) { return syscall.Seek(f.fd, 0, io.SeekCurrent) }

func (f *file) sync() error {
	if _, err := retry(func() (int, error) { return 0, syscall.Fsync(f.fd) }); err != nil {
		return f.error("fsync", err)
	}
	return nil
}

func (f *file) close() error {
	if err := syscall.Close(f.fd); err != nil {
		return f.error("close", err)
	}
	return nil
}

func (f *file) error(op string, err error) error {
	return &fs.PathError{Op: op, Path: f.path, Err: err}
}

// openIndex opens the index of src, which must be a file of the owner of the trace that nobody else
// can write. Only that owner makes one.
func openIndex(src source, flags int) (*os.File, error) {
	var trace, index syscall.Stat_t
	if err := syscall.Fstat(int(src.Fd()), &trace); err != nil {
		return nil, err
	}
	if flags&os.O_CREATE != 0 && int(trace.Uid) != syscall.Geteuid() {
		return nil, fs.ErrPermission
	}
	f, err := os.OpenFile(src.Name()+indexSuffix, flags|syscall.O_NOFOLLOW|nonblock, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Fstat(int(f.Fd()), &index)
	if err == nil && (index.Mode&syscall.S_IFMT != syscall.S_IFREG || index.Uid != trace.Uid || index.Mode&0o022 != 0) {
		err = fs.ErrPermission
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// tryLock takes the exclusive lock on f, or fails at once.
func tryLock(f *os.File) error {
	_, err := retry(func() (int, error) { return 0, syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) })
	return err
}

// lockFor takes the exclusive lock on f, or fails after wait.
func lockFor(f *os.File, wait time.Duration) error {
	return (&file{fd: int(f.Fd()), path: f.Name()}).lock(true, wait)
}

// fileStateOf returns the state of an open file.
func fileStateOf(f *os.File) (fileState, error) {
	return (&file{fd: int(f.Fd()), path: f.Name()}).stat()
}

// copyOwner gives f the mode and the owner of another file.
func copyOwner(f, from *os.File) error {
	var old, st syscall.Stat_t
	err := errors.Join(syscall.Fstat(int(from.Fd()), &old), syscall.Fstat(int(f.Fd()), &st))
	if err == nil && (old.Uid != st.Uid || old.Gid != st.Gid) {
		err = f.Chown(int(old.Uid), int(old.Gid))
	}
	return errors.Join(err, f.Chmod(fs.FileMode(old.Mode&0o777)))
}

// inodeOf returns the inode number of a file.
func inodeOf(f *os.File) (uint64, error) {
	var st syscall.Stat_t
	if err := syscall.Fstat(int(f.Fd()), &st); err != nil {
		return 0, err
	}
	return uint64(st.Ino), nil // the type differs between systems
}

// retry repeats a call that a signal interrupted.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, syscall.EINTR) {
			return n, err
		}
	}
}
