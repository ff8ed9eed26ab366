package layout

// cached is an FS that asks each question once. Paths have the same beginnings, and a system call
// costs ten times as much as a look into a map.
type cached struct {
	FS
	stats  map[string]statAnswer
	rights map[string]uint32
}

type statAnswer struct {
	stat Stat
	err  error
}

func newCached(fs FS) *cached {
	return &cached{FS: fs, stats: make(map[string]statAnswer, 32), rights: make(map[string]uint32, 32)}
}

// Lstat asks once for each path.
func (c *cached) Lstat(path string) (Stat, error) {
	a, known := c.stats[path]
	if !known {
		a.stat, a.err = c.FS.Lstat(path)
		c.stats[path] = a
	}
	return a.stat, a.err
}

// Rights asks once for each path.
func (c *cached) Rights(path string) uint32 {
	r, known := c.rights[path]
	if !known {
		r = c.FS.Rights(path)
		c.rights[path] = r
	}
	return r
}
