package prestart

import "syscall"

// traceFile is the open trace. What is done to it, and in which order, is what trace.Writer does;
// that package has the reasons.
type traceFile struct {
	path     *cstring
	limit    int64
	fd       int
	dev, ino uint64
	end      int64  // size after our last line; -1 if unknown
	doing    string // what finish tried last
	st       syscall.Stat_t
	last     [1]byte
}

// maxSize is the size at which a trace is rotated, in bytes, unless a variable says otherwise.
//
// Source: TRC3.
const maxSize = 100 << 20

const openFlags = syscall.O_RDWR | syscall.O_APPEND | syscall.O_CLOEXEC | syscall.O_NONBLOCK | syscall.O_NOCTTY

// open opens the trace that is there; limit is the size at which it is full, 0 for the default. It says no, and has closed it, unless the file is at hand: a
// regular file, not locked, not full, its last line whole.
func (t *traceFile) open(path *cstring, limit int64) bool {
	t.path, t.limit = path, limit
	if limit == 0 {
		t.limit = maxSize
	}
	t.fd = retry(syscall.SYS_OPENAT, atFdcwd, address(path.ptr()), openFlags, 0)
	if t.fd < 0 {
		return false
	}
	if t.fd > 2 && t.lock(syscall.LOCK_SH) && t.begun() {
		return true
	}
	t.close()
	return false
}

// lock takes a lock if it can be had at once.
func (t *traceFile) lock(how uintptr) bool {
	return retry(syscall.SYS_FLOCK, uintptr(t.fd), how|syscall.LOCK_NB, 0, 0) == 0
}

func (t *traceFile) unlock() { retry(syscall.SYS_FLOCK, uintptr(t.fd), syscall.LOCK_UN, 0, 0) }

func (t *traceFile) close() { call(syscall.SYS_CLOSE, uintptr(t.fd), 0, 0, 0) }

// begun looks at the file that has just been opened and locked.
func (t *traceFile) begun() bool {
	if retry(syscall.SYS_FSTAT, uintptr(t.fd), address(&t.st), 0, 0) != 0 {
		return false
	}
	t.dev, t.ino = uint64(t.st.Dev), t.st.Ino
	return t.st.Mode&syscall.S_IFMT == syscall.S_IFREG && t.st.Nlink > 0 && t.st.Size < t.limit && !t.torn(t.st.Size)
}

// torn says whether the last byte of the file is no newline.
func (t *traceFile) torn(size int64) bool {
	if size == 0 {
		return false
	}
	n := retry(syscall.SYS_PREAD64, uintptr(t.fd), address(&t.last), 1, uintptr(size-1))
	return n == 1 && t.last[0] != '\n'
}

// write makes one write of s and gives its result: the length or -errno.
func (t *traceFile) write(s []byte) int {
	return retry(syscall.SYS_WRITE, uintptr(t.fd), address(&s[0]), uintptr(len(s)), 0)
}

// start writes the first line to a file that open found at hand. If it says no the ordinary route
// tries again, and knows what to do with the rest of a line.
func (t *traceFile) start(s []byte) bool {
	ok := t.write(s) == len(s) && !t.glued(t.st.Size, len(s))
	t.end = t.st.Size + int64(len(s))
	t.unlock()
	return ok
}

const writing = "write"

// Limits of trace.Writer. Pauses are of a millisecond.
const (
	lockPauses   = 5000
	confirmTries = 1000
	reopenLimit  = 100
)

// finish writes the second line: s without its first byte, which is a newline for the case that
// something tore the last line. The file may have been rotated, replaced or removed since; a full
// one is left for the next writer to rotate. The result is the number of bytes written, or -errno, and
// how many were wanted.
func (t *traceFile) finish(s []byte) (n, want int) {
	whole := s
	size, errno := t.acquire(lockPauses)
	if errno == 0 && size != t.end && t.torn(size) {
		var torn bool
		if torn, errno = t.confirmTorn(); !torn {
			s = s[1:]
		}
	} else {
		s = s[1:]
	}
	if errno != 0 {
		return errno, len(s)
	}
	t.doing = writing
	n = t.write(s)
	if n == len(s) && s[0] != '\n' && t.glued(size, n) {
		s = whole
		n = t.write(s)
	}
	return n, len(s) // the lock goes with the process
}

// glued tells whether the n bytes that were just written follow a part of a line, of a writer that was killed since we
// saw the file with that size.
func (t *traceFile) glued(size int64, n int) bool {
	end := int64(retry(syscall.SYS_LSEEK, uintptr(t.fd), 0, seekCurrent, 0))
	return end > 0 && end-int64(n) != size && t.torn(end-int64(n))
}

// acquire takes the shared lock on the file that is at the path now, and gives its size or -errno.
func (t *traceFile) acquire(pauses int) (size int64, errno int) {
	for range reopenLimit {
		t.doing = "flock"
		for !t.lock(syscall.LOCK_SH) {
			if pauses--; pauses < 0 {
				return 0, -int(syscall.EWOULDBLOCK)
			}
			nap(1)
		}
		t.doing = "stat"
		r := retry(sysFstatat, atFdcwd, address(t.path.ptr()), address(&t.st), 0)
		if r == 0 && uint64(t.st.Dev) == t.dev && t.st.Ino == t.ino {
			return t.st.Size, 0
		}
		if r != 0 && r != -int(syscall.ENOENT) {
			return 0, r
		}
		t.close()
		if errno := t.reopen(); errno != 0 {
			return 0, errno
		}
	}
	return 0, -int(syscall.ESTALE)
}

// reopen opens what is at the path now, or makes a new file. A directory that was removed as well is
// not made again.
func (t *traceFile) reopen() (errno int) {
	t.doing = "open"
	t.fd = retry(syscall.SYS_OPENAT, atFdcwd, address(t.path.ptr()), openFlags, 0)
	if t.fd == -int(syscall.ENOENT) {
		t.fd = retry(syscall.SYS_OPENAT, atFdcwd, address(t.path.ptr()), openFlags|syscall.O_CREAT, 0o600)
		if t.fd >= 0 { // the umask may have taken our own rights away
			retry(syscall.SYS_FCHMOD, uintptr(t.fd), 0o600, 0, 0)
		}
	}
	if t.fd < 0 {
		return t.fd
	}
	t.end = -1
	if r := retry(syscall.SYS_FSTAT, uintptr(t.fd), address(&t.st), 0, 0); r != 0 {
		return r
	}
	if t.st.Mode&syscall.S_IFMT != syscall.S_IFREG {
		return -int(syscall.EINVAL)
	}
	t.dev, t.ino = uint64(t.st.Dev), t.st.Ino
	return 0
}

// confirmTorn looks again and again at a last line that has no end: another writer may be just writing it.
func (t *traceFile) confirmTorn() (torn bool, errno int) {
	for range confirmTries {
		t.unlock()
		if t.lock(syscall.LOCK_EX) { // nobody else is writing
			r := retry(syscall.SYS_FSTAT, uintptr(t.fd), address(&t.st), 0, 0)
			return r == 0 && t.torn(t.st.Size), 0
		}
		nap(1)
		size, errno := t.acquire(lockPauses)
		if errno != 0 || !t.torn(size) {
			return false, errno
		}
	}
	return true, 0
}
