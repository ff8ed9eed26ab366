package upper

import (
	"encoding/hex"
	"errors"
	"sync"

	"golang.org/x/sys/unix"

	"substrate/fsdiff"
	"substrate/internal/world/tree"
)

// links is the index of an overlay that is mounted with index=on. It keeps the hard links of the
// lower together: when one name of such a file is copied up, the copy goes into the index under the
// file handle of the original. From then on every other name shows the copy, without an entry of
// its own in the upper, even if the first name is deleted again. So for these files the index
// counts and not the upper.
//
// Source: overlayfs.rst, "Inode properties", "index".
type links struct {
	dir    *tree.Dir
	copies map[handle]string // names in the index, by the handle of the original

	mu    sync.Mutex
	files map[tree.Inode]*link // those that the walk has met
}

// handle is a file handle of the kernel, without the part that identifies the file system: an
// overlay has one lower.
type handle struct {
	kind  byte
	bytes string
}

// link is a file of the lower that has several names and a copy in the index.
type link struct {
	copy    *tree.Node
	changed bool   // the copy differs from the original
	path    string // of the first name that the walk met, in the world
	names   uint64 // how many names the original has
	met     uint64 // how many of them the walk has compared
}

// openLinks reads the index. It returns nil if there is no index or it is empty.
//
// Source: Linux fs/overlayfs/overlayfs.h, struct ovl_fb; ovl_get_index_name.
func openLinks(path string) (*links, error) {
	if path == "" {
		return nil, nil
	}
	d, err := tree.Open(path)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	const header, magic = 21, 0xfb // version, magic, length, flags, type, 16 bytes of UUID
	k := &links{dir: d, copies: make(map[handle]string), files: make(map[tree.Inode]*link)}
	err = d.Names(func(name string, _ uint64) {
		if b, err := hex.DecodeString(name); err == nil && len(b) > header && b[1] == magic {
			k.copies[handle{b[4], string(b[header:])}] = name
		}
	})
	if err != nil || len(k.copies) == 0 {
		tree.Release(d)
		return nil, err
	}
	return k, nil
}

// copyOf returns the copy of a file of the lower, nil if it has no copy.
func (k *links) copyOf(n *tree.Node) *tree.Node {
	if k == nil || n == nil || n.IsDir() || n.Stat.Nlink < 2 {
		return nil
	}
	h, _, err := unix.NameToHandleAt(n.Dir.FD, n.Name, 0)
	if err != nil {
		return nil // a file system without handles has no index
	}
	name, found := k.copies[handle{byte(h.Type()), string(h.Bytes())}]
	if !found {
		return nil
	}
	c := &tree.Node{Dir: k.dir, Name: name, Upper: true}
	if err := unix.Fstatat(k.dir.FD, name, &c.Stat, unix.AT_SYMLINK_NOFOLLOW); err != nil || isDeviceWhiteout(c) {
		return nil
	}
	return c
}

// throughIndex returns what the world shows for a file of the lower that has no entry in the upper.
func (w *walker) throughIndex(j *job, n *tree.Node) *tree.Node {
	if c := j.l.links.copyOf(n); c != nil {
		return c
	}
	return n
}

// siblings are the changed files with several names that the walk met in one directory.
type siblings struct {
	met   map[uint64]*link // by inode number; a directory is on one device
	upper map[string]bool  // the names in the upper, which are compared anyway
}

// newSiblings returns nil if no file can have another name that changes with it.
func newSiblings(l *layer) *siblings {
	if l.links == nil {
		return nil
	}
	return &siblings{met: make(map[uint64]*link), upper: make(map[string]bool)}
}

func (s *siblings) inUpper(names []string) {
	if s == nil {
		return
	}
	for _, name := range names {
		s.upper[name] = true
	}
}

// countLink counts a name of the lower, and adds its file to s if the other names of the file are
// changed too.
func (w *walker) countLink(j *job, name string, before *tree.Node, s *siblings) {
	c := j.l.links.copyOf(before)
	if c == nil {
		return
	}
	j.l.links.mu.Lock()
	defer j.l.links.mu.Unlock()
	f := j.l.links.files[before.Inode()]
	if f == nil {
		f = &link{copy: c, path: j.l.base + j.rel + "/" + name, names: uint64(before.Stat.Nlink)}
		f.changed = w.changed(j, &view{}, c, before)
		j.l.links.files[before.Inode()] = f
	}
	f.met++
	if f.changed {
		s.met[before.Stat.Ino] = f
	}
}

// addSiblings adds the other names in this directory that changed with those in s. To find names in
// other directories would take a search of the whole file system; see noteLinks.
func (w *walker) addSiblings(j *job, v *view, s *siblings) {
	if s == nil || len(s.met) == 0 || !v.same {
		return // here every name was compared
	}
	var names []string
	err := v.was.Names(func(name string, ino uint64) {
		if s.met[ino] != nil && !s.upper[name] {
			names = append(names, name)
		}
	})
	if err != nil {
		w.unknown(j, "", err)
	}
	for _, name := range names {
		n := w.lowerNode(j, v.was, name)
		if n == nil || s.met[n.Stat.Ino] == nil || j.l.skip[j.l.base+j.rel+"/"+name] {
			continue
		}
		f := s.met[n.Stat.Ino]
		j.l.links.mu.Lock()
		f.met++
		j.l.links.mu.Unlock()
		w.emit(j, "/"+name, fsdiff.Modify, f.copy, n)
	}
}

// noteLinks adds a note for each changed file that has names which the walk did not meet.
func (w *walker) noteLinks(l *layer) {
	if l.links == nil {
		return
	}
	for _, f := range l.links.files {
		if f.changed && f.met < f.names {
			w.Note("hard-links: %s has %d other names that change with it and are not listed", fsdiff.Escape(f.path), f.names-f.met)
		}
	}
}
