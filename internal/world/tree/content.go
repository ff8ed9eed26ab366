package tree

import (
	"bytes"
	"errors"
	"sync"

	"golang.org/x/sys/unix"
)

// Buffers come in pairs.
var Buffers = sync.Pool{New: func() any { b := make([]byte, 512<<10); return &b }}

// SameContent compares the first size bytes of two files. What is a hole in both is not read.
func SameContent(a, b int, size int64) (bool, error) {
	bufA := Buffers.Get().(*[]byte)
	defer Buffers.Put(bufA)
	bufB := Buffers.Get().(*[]byte)
	defer Buffers.Put(bufB)
	for off := int64(0); off < size; {
		off = min(NextData(a, off, size), NextData(b, off, size))
		n := int(min(size-off, int64(len(*bufA))))
		if n == 0 {
			break
		}
		if err := readAt(a, (*bufA)[:n], off); err != nil {
			return false, err
		}
		if err := readAt(b, (*bufB)[:n], off); err != nil {
			return false, err
		}
		if !bytes.Equal((*bufA)[:n], (*bufB)[:n]) {
			return false, nil
		}
		off += int64(n)
	}
	return true, nil
}

// NextData returns where the next byte at or after off is that is not in a hole, or size if there is none.
//
// Source: lseek(2), SEEK_DATA.
func NextData(fd int, off, size int64) int64 {
	at, err := unix.Seek(fd, off, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return size
	case err != nil: // a file system that knows of no holes
		return off
	}
	return at
}

// readAt fills p; what is past the end reads as zeros, which a difference in size would have shown before.
func readAt(fd int, p []byte, off int64) error {
	for len(p) > 0 {
		n, err := Retry(func() (int, error) { return unix.Pread(fd, p, off) })
		if err != nil {
			return err
		}
		if n == 0 {
			clear(p)
			return nil
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}
