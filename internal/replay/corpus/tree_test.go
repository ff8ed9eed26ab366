package corpus

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
)

// node is what a snapshot keeps of one file. It shares no code with fsdiff, whose results it
// checks.
type node struct {
	kind     string // file, dir, symlink, fifo, socket, char, block
	mode     uint32 // permission bits with setuid, setgid and sticky
	uid, gid uint32
	links    uint64 // 0 for directories, where file systems count differently
	size     int64
	content  string // SHA-256 of a file, target of a symlink
	mtime    int64  // ns; 0 for directories
}

// tree maps absolute paths to nodes.
type tree map[string]node

// snapshot walks the directories. It leaves out the absolute paths in skip.
func snapshot(skip []string, roots ...string) (tree, error) {
	t := tree{}
	for _, root := range roots {
		err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			for _, s := range skip {
				if path == s {
					return fs.SkipDir
				}
			}
			if err != nil && !errors.Is(err, fs.ErrPermission) { // a directory that its owner closed
				return err
			}
			n, err := look(path)
			t[path] = n
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("walk %s: %w", root, err)
		}
	}
	return t, nil
}

// look returns the node of one file.
func look(path string) (node, error) {
	var st syscall.Stat_t
	if err := syscall.Lstat(path, &st); err != nil {
		return node{}, &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	kinds := map[uint32]string{
		syscall.S_IFREG: "file", syscall.S_IFDIR: "dir", syscall.S_IFLNK: "symlink", syscall.S_IFIFO: "fifo",
		syscall.S_IFSOCK: "socket", syscall.S_IFCHR: "char", syscall.S_IFBLK: "block",
	}
	n := node{
		kind: kinds[st.Mode&syscall.S_IFMT], mode: st.Mode & 0o7777, uid: st.Uid, gid: st.Gid,
		links: uint64(st.Nlink), mtime: st.Mtim.Nano(), size: st.Size,
	}
	var err error
	switch n.kind {
	case "dir":
		n.links, n.mtime, n.size = 0, 0, 0
	case "symlink":
		n.content, err = os.Readlink(path)
	case "file":
		n.content, err = hash(path)
	}
	return n, err
}

// hash returns the SHA-256 of a file, or "unreadable" if its mode forbids reading, as it may for a
// runner that is not root.
func hash(path string) (string, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrPermission) {
		return "unreadable", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return fmt.Sprintf("%x", h.Sum(nil)), nil
}

// differences returns the sorted paths whose nodes differ. Times are compared only on request: two
// runs of one command never write at the same moment.
func differences(want, got tree, times bool) []string {
	var out []string
	for path, w := range want {
		g, ok := got[path]
		if !times {
			w.mtime, g.mtime = 0, 0
		}
		if !ok {
			out = append(out, fmt.Sprintf("%q is missing", path))
		} else if w != g {
			out = append(out, fmt.Sprintf("%q is %+v, want %+v", path, g, w))
		}
	}
	for path := range got {
		if _, ok := want[path]; !ok {
			out = append(out, fmt.Sprintf("%q is there, want nothing", path))
		}
	}
	sort.Strings(out)
	return out
}

// changes returns what a diff must list by the rules of DIF1 and DIF4: path → kind. Paths below
// root are relative to it.
func changes(before, after tree, root string) map[string]string {
	out := map[string]string{}
	name := func(path string) string {
		if rel, ok := strings.CutPrefix(path, root+"/"); ok {
			return rel
		}
		return path
	}
	for path, b := range before {
		a, ok := after[path]
		b.links, a.links = 0, 0 // another name for a file changes nothing in it
		switch {
		case !ok:
			out[name(path)] = "delete"
		case a.kind != b.kind:
			out[name(path)] = "type_change"
		case a != b:
			out[name(path)] = "modify"
		}
	}
	for path := range after {
		if _, ok := before[path]; !ok {
			out[name(path)] = "create"
		}
	}
	return out
}
