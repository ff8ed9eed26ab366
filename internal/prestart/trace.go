package prestart

import (
	"syscall"

	"substrate/internal/plain"
)

// traceFile is the open trace. Only the plain case of trace.Writer is done here: the file is there
// and not locked, and its last line is whole. The ordinary route does all else.
type traceFile struct {
	path     *plain.Buffer
	fd       int
	dev, ino uint64
	end      int64 // size after our last line
	st       syscall.Stat_t
	last     [1]byte
}

const openFlags = syscall.O_RDWR | syscall.O_APPEND | syscall.O_CLOEXEC | syscall.O_NONBLOCK | syscall.O_NOCTTY

// open opens and locks the trace. It refuses, and has closed it, unless the file is regular, has
// less than limit bytes and a last line that is whole.
func (t *traceFile) open(path *plain.Buffer, limit int64) bool {
	t.path = path
	t.fd = retry(syscall.SYS_OPENAT, atFdcwd, address(path.CString()), openFlags, 0)
	if t.fd < 0 {
		return false
	}
	if t.fd > 2 && t.lock(syscall.LOCK_SH) && retry(syscall.SYS_FSTAT, uintptr(t.fd), address(&t.st), 0, 0) == 0 {
		t.dev, t.ino = t.st.Dev, t.st.Ino
		if t.st.Mode&syscall.S_IFMT == syscall.S_IFREG && t.st.Nlink > 0 && t.st.Size < limit && !t.torn(t.st.Size) {
			return true
		}
	}
	t.close()
	return false
}

// again locks the trace for another line. It refuses if another file is at the path now, or if the
// last line is torn.
func (t *traceFile) again() bool {
	return t.lock(syscall.LOCK_SH) && stat(t.path.CString(), &t.st) == 0 && t.st.Dev == t.dev && t.st.Ino == t.ino &&
		(t.st.Size == t.end || !t.torn(t.st.Size))
}

// append writes a line with one write. It reports false if the line was not
// written whole, or follows a part of a line of a writer that was killed since we looked.
func (t *traceFile) append(line []byte) bool {
	n := retry(syscall.SYS_WRITE, uintptr(t.fd), address(&line[0]), uintptr(len(line)), 0)
	end := int64(retry(syscall.SYS_LSEEK, uintptr(t.fd), 0, seekCurrent, 0))
	begin := end - int64(n)
	glued := end > 0 && begin != t.st.Size && t.torn(begin)
	t.end = t.st.Size + int64(n)
	return n == len(line) && !glued
}

// lock takes the lock if it is free, or releases it.
func (t *traceFile) lock(how uintptr) bool {
	return retry(syscall.SYS_FLOCK, uintptr(t.fd), how|syscall.LOCK_NB, 0, 0) == 0
}

func (t *traceFile) close() { call(syscall.SYS_CLOSE, uintptr(t.fd), 0, 0, 0) }

// torn reports whether the byte before size is not a newline.
func (t *traceFile) torn(size int64) bool {
	if size == 0 {
		return false
	}
	n := retry(syscall.SYS_PREAD64, uintptr(t.fd), address(&t.last), 1, uintptr(size-1))
	return n == 1 && t.last[0] != '\n'
}
