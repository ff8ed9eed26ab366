package tree

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"substrate/fsdiff"
)

// Differ reports whether the metadata of two files differs. Names and access times do not count.
func Differ(a, b *unix.Stat_t) bool {
	return OwnerDiffers(a, b) || a.Mtim != b.Mtim || a.Rdev != b.Rdev || a.Size != b.Size
}

// OwnerDiffers compares mode and owner. Nothing else counts for a directory: its time and size
// change with its entries.
func OwnerDiffers(a, b *unix.Stat_t) bool {
	return a.Mode != b.Mode || a.Uid != b.Uid || a.Gid != b.Gid
}

// Meta returns the description of a file for a diff. target is the target if it is a symlink.
func Meta(st *unix.Stat_t, target string) fsdiff.Meta {
	digit := func(shift uint) byte { return '0' + byte(st.Mode>>shift&7) }
	m := fsdiff.Meta{
		FileType: fileType(st.Mode), Mode: string([]byte{digit(9), digit(6), digit(3), digit(0)}), UID: st.Uid, GID: st.Gid,
		Mtime: time.Unix(st.Mtim.Unix()).UTC().Format("2006-01-02T15:04:05.000000000Z"),
	}
	switch m.FileType {
	case fsdiff.File:
		m.Size = st.Size
	case fsdiff.Symlink:
		m.Size = st.Size
		m.SetTarget(target)
	}
	return m
}

// fileType translates the type bits of stat(2).
func fileType(mode uint32) fsdiff.FileType {
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return fsdiff.Dir
	case unix.S_IFLNK:
		return fsdiff.Symlink
	case unix.S_IFIFO:
		return fsdiff.Fifo
	case unix.S_IFSOCK:
		return fsdiff.Socket
	case unix.S_IFCHR:
		return fsdiff.Char
	case unix.S_IFBLK:
		return fsdiff.Block
	}
	return fsdiff.File
}

// maxNotes limits the number of notes in a diff.
const maxNotes = 50

// Findings collects what several goroutines find: changes, notes and errors.
type Findings struct {
	mu    sync.Mutex
	b     *fsdiff.Builder
	notes []string
	err   error
}

// NewFindings returns empty findings. They add changes to b.
func NewFindings(b *fsdiff.Builder) *Findings { return &Findings{b: b} }

// Change adds a change. before is nil for a new file.
func (f *Findings) Change(path string, kind fsdiff.Kind, m fsdiff.Meta, before *fsdiff.Meta) {
	if path == "" {
		path = "/"
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.b.Add(path, kind, m, before)
}

// Note adds a message for the user.
func (f *Findings) Note(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.notes) < maxNotes {
		f.notes = append(f.notes, fmt.Sprintf(format, args...))
	}
}

// Fail adds an error. The list of changes is incomplete then.
func (f *Findings) Fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = errors.Join(f.err, err)
}

// Result returns the notes and the errors.
func (f *Findings) Result() ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.notes, f.err
}
