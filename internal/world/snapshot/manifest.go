package snapshot

import (
	"slices"

	"golang.org/x/sys/unix"

	"substrate/fsdiff"
	"substrate/internal/world/tree"
)

// entry is the state of a file of the copy when the copy was finished. It is small, because a tree
// has hundreds of thousands of them.
type entry struct {
	name      string
	rec       *record // the entries of a directory; else nil
	extra     *extra  // what few files have; nil if this one has none of it
	ino       uint64
	ctime     int64 // of the copy, ns since 1970; only compared for equality
	original  int64 // ctime of the original before it was copied; only compared for equality
	size      int64
	mtimeSec  int64
	mtimeNsec int32
	mode      uint32 // with the type; 0 if the file had vanished before it was copied
	uid, gid  uint32
}

// extra is the part of an entry that few files have.
type extra struct {
	target  string // of a symlink
	xattrs  string // as tree.XattrSet returns them
	rdev    uint64
	foreign bool // a hidden directory: the copy has an empty one, which is not compared
	unread  bool // the content of the original was not read, so the copy is empty
}

// record is the list of entries of a directory, sorted by name.
type record struct{ entries []entry }

// newRecord returns a record with an entry for each of the sorted names.
func newRecord(names []string) *record {
	r := &record{entries: make([]entry, len(names))}
	for i, name := range names {
		r.entries[i].name = name
	}
	return r
}

// tidy removes the entries that vanished before they were copied. It returns how many are left.
func (r *record) tidy() int {
	if r == nil {
		return 0
	}
	r.entries = slices.DeleteFunc(r.entries, func(e entry) bool { return e.mode == 0 })
	n := len(r.entries)
	for i := range r.entries {
		n += r.entries[i].rec.tidy()
	}
	return n
}

func (e *entry) format() uint32 { return e.mode & unix.S_IFMT }

func (e *entry) isDir() bool { return e != nil && e.format() == unix.S_IFDIR }

// more returns the extra of an entry for writing.
func (e *entry) more() *extra {
	if e.extra == nil {
		e.extra = &extra{}
	}
	return e.extra
}

func (e *entry) xattrs() string {
	if e.extra == nil {
		return ""
	}
	return e.extra.xattrs
}

// set stores the state of the copy.
func (e *entry) set(st *unix.Stat_t) {
	e.ino, e.ctime, e.size, e.mode, e.uid, e.gid = st.Ino, st.Ctim.Nano(), st.Size, st.Mode, st.Uid, st.Gid
	e.mtimeSec, e.mtimeNsec = int64(st.Mtim.Sec), int32(st.Mtim.Nsec)
	if st.Rdev != 0 {
		e.more().rdev = uint64(st.Rdev)
	}
}

// stat returns the state of the copy, as far as it is compared.
func (e *entry) stat() unix.Stat_t {
	st := unix.Stat_t{Mode: e.mode, Uid: e.uid, Gid: e.gid, Size: e.size}
	st.Mtim.Sec, st.Mtim.Nsec = e.mtimeSec, int64(e.mtimeNsec)
	if e.extra != nil {
		st.Rdev = e.extra.rdev
	}
	return st
}

// meta returns the description of the entry for a diff.
func (e *entry) meta() fsdiff.Meta {
	st, target := e.stat(), ""
	if e.extra != nil {
		target = e.extra.target
	}
	return tree.Meta(&st, target)
}

// newest returns the latest ctime of all entries below.
func (r *record) newest() int64 {
	if r == nil {
		return 0
	}
	var latest int64
	for i := range r.entries {
		latest = max(latest, r.entries[i].ctime, r.entries[i].rec.newest())
	}
	return latest
}
