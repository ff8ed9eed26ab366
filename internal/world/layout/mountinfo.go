package layout

import (
	"bytes"
	"fmt"
	"sort"
	"strconv"
	"strings"

	"substrate/internal/world/mount"
)

// node is a mount that can be reached by its path.
type node struct {
	id, parent int
	path       string // mount point
	fstype     string
	flags      mount.Flags // of the mount itself
	superRO    bool        // the file system is read-only, not only this mount of it
	children   []*node     // the mounts below that can be reached, sorted by path
}

// parseMountInfo returns the mount at "/" with all others below it. It leaves out mounts that
// another one covers.
//
// Source: proc_pid_mountinfo(5).
func parseMountInfo(text []byte) (*node, error) {
	nodes := make([]node, 0, bytes.Count(text, []byte("\n"))+1)
	for line := range bytes.Lines(text) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		if len(line) == 0 {
			continue
		}
		n, err := parseLine(string(line))
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, n)
	}
	return link(nodes), nil
}

// parseLine reads one line: ID parent major:minor root point options optional… - type source
// options.
func parseLine(line string) (node, error) {
	bad := func() (node, error) { return node{}, fmt.Errorf("mountinfo: cannot read line %q", line) }
	left, right, found := strings.Cut(line, " - ")
	if !found {
		return bad()
	}
	var f [6]string
	rest := left
	for i := range f {
		f[i], rest, _ = strings.Cut(rest, " ")
	}
	fstype, rest, _ := strings.Cut(right, " ")
	_, super, _ := strings.Cut(rest, " ")
	id, err1 := strconv.Atoi(f[0])
	parent, err2 := strconv.Atoi(f[1])
	if err1 != nil || err2 != nil || !strings.HasPrefix(f[4], "/") {
		return bad()
	}
	n := node{id: id, parent: parent, path: unescape(f[4]), fstype: unescape(fstype)}
	for option := range strings.SplitSeq(f[5], ",") {
		switch option {
		case "ro":
			n.flags |= mount.ReadOnly
		case "nosuid":
			n.flags |= mount.NoSuid
		case "noexec":
			n.flags |= mount.NoExec
		}
	}
	n.superRO = super == "ro" || strings.HasPrefix(super, "ro,")
	return n, nil
}

// unescape undoes the octal escapes for blanks, newlines and backslashes.
func unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b = append(b, byte(n))
				i += 3
				continue
			}
		}
		b = append(b, s[i])
	}
	return string(b)
}

// link connects the mounts with their parents and returns the one at "/". In a chroot there may be
// none; then it returns a node for the directory.
func link(nodes []node) *node {
	known := make(map[int]bool, len(nodes))
	for i := range nodes {
		known[nodes[i].id] = true
	}
	below := make(map[int][]*node, len(nodes))
	var root *node
	var strays []*node
	for i := range nodes {
		n := &nodes[i]
		switch {
		case known[n.parent] && n.parent != n.id:
			below[n.parent] = append(below[n.parent], n)
		case n.path == "/":
			root = n
		default:
			strays = append(strays, n)
		}
	}
	if root == nil {
		root = &node{id: -1, path: "/", fstype: "unknown"}
	}
	root = top(root, below)
	below[root.id] = append(below[root.id], strays...)
	attach(root, below)
	return root
}

// top returns the mount that covers all others at the place of n.
func top(n *node, below map[int][]*node) *node {
	for range len(below) {
		var over *node
		for _, c := range below[n.id] {
			if c.path == n.path {
				over = c
			}
		}
		if over == nil {
			return n
		}
		n = over
	}
	return n
}

// attach gives n the children that no other child covers.
func attach(n *node, below map[int][]*node) {
	all := below[n.id]
	sort.SliceStable(all, func(i, j int) bool { return pathLess(all[i].path, all[j].path) })
	var last *node
	for _, c := range all {
		if c.path == n.path || !within(c.path, n.path) || last != nil && within(c.path, last.path) {
			continue
		}
		last = top(c, below)
		n.children = append(n.children, last)
		attach(last, below)
	}
}

// pathLess orders paths. A directory comes right before what is below it.
func pathLess(a, b string) bool {
	for i := 0; i < len(a) && i < len(b); i++ {
		if a[i] != b[i] {
			return a[i] == '/' || b[i] != '/' && a[i] < b[i]
		}
	}
	return len(a) < len(b)
}

// within reports whether path is dir or below it.
func within(path, dir string) bool {
	if dir == "/" {
		return true
	}
	return strings.HasPrefix(path, dir) && (len(path) == len(dir) || path[len(dir)] == '/')
}

// hasBelow reports whether a mount is below path, which belongs to n.
func (n *node) hasBelow(path string) bool {
	for _, c := range n.children {
		if c.path != path && within(c.path, path) {
			return true
		}
	}
	return false
}

// at returns the mount at exactly path, nil if there is none.
func (n *node) at(path string) *node {
	for _, c := range n.children {
		if c.path == path {
			return c
		}
	}
	return nil
}

// walk calls f for all mounts below n.
func (n *node) walk(f func(*node)) {
	for _, c := range n.children {
		f(c)
		c.walk(f)
	}
}
