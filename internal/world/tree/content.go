package tree

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// buffers holds buffers for contents.
var buffers = sync.Pool{New: func() any { b := make([]byte, 512<<10); return &b }}

// SameContent reports whether the first size bytes of two files are equal. It does not read where
// both have a hole.
func SameContent(a, b int, size int64) (bool, error) {
	bufA := buffers.Get().(*[]byte)
	defer buffers.Put(bufA)
	bufB := buffers.Get().(*[]byte)
	defer buffers.Put(bufB)
	for off := int64(0); off < size; {
		off = min(nextData(a, off, size), nextData(b, off, size))
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

// nextData returns the offset of the first byte at or after off that is not in a hole, or size.
//
// Source: lseek(2), SEEK_DATA.
func nextData(fd int, off, size int64) int64 {
	at, err := unix.Seek(fd, off, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return size
	case err != nil: // the file system does not support holes
		return off
	}
	return at
}

// readAt fills p. Bytes after the end of the file read as zeros; the caller compared sizes before.
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

// Copier copies the contents of files, and remembers what the file system cannot do. The zero value
// is ready.
type Copier struct {
	NoClone atomic.Bool // the file system cannot share contents
	noRange atomic.Bool
}

// Copy copies the content of src, whose state is st, to the empty file dst. The two share it if the
// file system supports that; else holes stay holes. If src has become shorter, Copy stops at its
// end.
//
// Source: ioctl_ficlone(2); copy_file_range(2); lseek(2), SEEK_DATA.
func (c *Copier) Copy(ctx context.Context, dst, src int, st *unix.Stat_t) error {
	if st.Size == 0 {
		return nil
	}
	if !c.NoClone.Load() {
		err := unix.IoctlFileClone(dst, src)
		if err == nil || errors.Is(err, unix.ENOSPC) {
			return err
		}
		if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ETXTBSY) { // these two are about this file only
			c.NoClone.Store(true)
		}
	}
	if st.Blocks*512 >= st.Size {
		return c.bytes(ctx, dst, src, 0, st.Size)
	}
	for off := int64(0); off < st.Size; {
		data := nextData(src, off, st.Size)
		if data >= st.Size {
			break
		}
		end, err := unix.Seek(src, data, unix.SEEK_HOLE)
		if err != nil || end > st.Size {
			end = st.Size
		}
		if err := c.bytes(ctx, dst, src, data, end-data); err != nil {
			return err
		}
		off = end
	}
	return unix.Ftruncate(dst, st.Size)
}

// smallFile is the size up to which read and write are as fast as anything else.
const smallFile = 64 << 10

// bytes copies n bytes at off.
func (c *Copier) bytes(ctx context.Context, dst, src int, off, n int64) error {
	end := off + n
	for off < end && n > smallFile && !c.noRange.Load() && ctx.Err() == nil {
		from, to := off, off
		k, err := unix.CopyFileRange(src, &from, dst, &to, int(min(end-off, 1<<30)), 0)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EFBIG) || errors.Is(err, unix.EIO):
			return err
		case err != nil: // the two file systems do not support it, or a filter refuses it
			c.noRange.Store(true)
		case k == 0:
			return nil
		default:
			off += int64(k)
		}
	}
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	for off < end && ctx.Err() == nil {
		part := (*buf)[:min(end-off, int64(len(*buf)))]
		k, err := Retry(func() (int, error) { return unix.Pread(src, part, off) })
		if err != nil || k == 0 {
			return err
		}
		if err := writeAt(dst, part[:k], off); err != nil {
			return err
		}
		off += int64(k)
	}
	return ctx.Err()
}

// writeAt writes all of p.
func writeAt(fd int, p []byte, off int64) error {
	for len(p) > 0 {
		n, err := Retry(func() (int, error) { return unix.Pwrite(fd, p, off) })
		if err != nil {
			return err
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}
