//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package trace

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"time"
)

// nonblock has no meaning here.
const nonblock = 0

// file is an open trace on a system without flock(2). There a writer notices that a file was
// replaced only when it opens it again.
type file struct {
	*os.File
	id fileID

	lockless bool // always
}

// fileID is the same for all files here.
type fileID struct{}

// fileState is what a writer needs to know about a file.
type fileState struct {
	id      fileID
	size    int64 // bytes
	regular bool
	linked  bool
}

func openFile(path string, create bool) (*file, error) {
	flags := os.O_RDWR | os.O_APPEND
	if create {
		flags |= os.O_CREATE
	}
	f, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return nil, err
	}
	return &file{File: f, lockless: true}, nil
}

// openIndex fails: without inode numbers there is no index.
func openIndex(source, int) (*os.File, error) { return nil, errors.ErrUnsupported }

func tryLock(*os.File) error { return errors.ErrUnsupported }

func lockFor(*os.File, time.Duration) error { return errors.ErrUnsupported }

func fileStateOf(*os.File) (fileState, error) { return fileState{}, errors.ErrUnsupported }

func copyOwner(_, _ *os.File) error { return errors.ErrUnsupported }

func inodeOf(*os.File) (uint64, error) { return 0, errors.ErrUnsupported }

func (f *file) lock(bool, time.Duration) error { return nil }

func (f *file) unlock() error { return nil }

func (f *file) stat() (fileState, error) {
	st, err := f.Stat()
	return stateOf(st, err)
}

func statPath(path string) (fileState, error) {
	st, err := os.Stat(path)
	return stateOf(st, err)
}

func stateOf(st fs.FileInfo, err error) (fileState, error) {
	if err != nil {
		return fileState{}, err
	}
	return fileState{size: st.Size(), regular: st.Mode().IsRegular(), linked: true}, nil
}

func (f *file) byteAt(off int64) (byte, error) {
	var b [1]byte
	_, err := f.ReadAt(b[:], off)
	return b[0], err
}

func (f *file) write(b []byte) (int, error) { return f.Write(b) }

func (f *file) position() (int64, error) { return f.Seek(0, io.SeekCurrent) }

func (f *file) sync() error { return f.Sync() }

func (f *file) close() error { return f.Close() }
