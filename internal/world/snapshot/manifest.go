package snapshot

import (
	"slices"

	"golang.org/x/sys/unix"

	"substrate/fsdiff"
	"substrate/internal/world/tree"
)

// entry is how something in the copy was when the copy was finished. Trees have hundreds of thousands of them, so it is small.
type entry struct {
	name      string
	rec       *record // what a directory holds; nil for all else
	extra     *extra  // what few have; nil if there is none of it
	ino       uint64
	ctime     int64 // of the copy, ns since 1970; only ever compared for being the same
	original  int64 // ctime of the original before it was copied, in the same way
	size      int64
	mtimeSec  int64
	mtimeNsec int32
	mode      uint32 // with the type; 0 for what had vanished when it was to be copied
	uid, gid  uint32
}

// extra is the part of an entry that few have.
type extra struct {
	target  string // of a symlink
	xattrs  string // as xattrSet returns them
	rdev    uint64
	foreign bool // a directory that is hidden: the copy has an empty one instead, which is not looked into
	unread  bool // the content of the original was not read, and the copy has something empty
}

// record is a directory of the copy: its entries, sorted by name.
type record struct{ entries []entry }

// newRecord makes room for names.
func newRecord(names []string) *record {
	slices.Sort(names)
	r := &record{entries: make([]entry, len(names))}
	for i, name := range names {
		r.entries[i].name = name
	}
	return r
}

// tidy removes what vanished while it was being copied, and counts the rest.
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

// more returns the extra of an entry to write to.
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

// set takes over the state of the copy.
func (e *entry) set(st *unix.Stat_t) {
	e.ino, e.ctime, e.size, e.mode, e.uid, e.gid = st.Ino, st.Ctim.Nano(), st.Size, st.Mode, st.Uid, st.Gid
	e.mtimeSec, e.mtimeNsec = int64(st.Mtim.Sec), int32(st.Mtim.Nsec)
	if st.Rdev != 0 {
		e.more().rdev = uint64(st.Rdev)
	}
}

// stat returns the state of the copy, without what is not compared.
func (e *entry) stat() unix.Stat_t {
	st := unix.Stat_t{Mode: e.mode, Uid: e.uid, Gid: e.gid, Size: e.size}
	st.Mtim.Sec, st.Mtim.Nsec = e.mtimeSec, int64(e.mtimeNsec)
	if e.extra != nil {
		st.Rdev = e.extra.rdev
	}
	return st
}

// meta describes the entry as a diff does.
func (e *entry) meta() fsdiff.Meta {
	st, target := e.stat(), ""
	if e.extra != nil {
		target = e.extra.target
	}
	return tree.Meta(&st, target)
}

// newest returns the latest ctime below, no directory's before that of what it holds.
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
