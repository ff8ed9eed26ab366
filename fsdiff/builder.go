package fsdiff

import (
	"fmt"
	"slices"
	"strings"
)

// Builder collects changes and makes a Diff of them. It holds at most about twice as many changes
// as the limit, however many are added. Only one goroutine may use it at a time.
type Builder struct {
	root     string // without a trailing slash; "" for "/"
	strategy string
	max      int
	counts   Counts
	held     []held
}

// held is an entry and the bytes that it is sorted by. It is small because sorting copies it.
type held struct {
	raw   string
	entry *Entry
}

// New returns an empty Builder. The Diff shows paths relative to root, an absolute path, and has at
// most max entries; 0 or less means DefaultMax.
func New(root, strategy string, max int) *Builder {
	if max <= 0 {
		max = DefaultMax
	}
	return &Builder{root: strings.TrimRight(root, "/"), strategy: strategy, max: max}
}

// Add adds a change. The path is absolute and clean and may have any bytes; m and before are as in
// [Entry], and before may be nil. The caller must not add a path twice.
func (b *Builder) Add(path string, kind Kind, m Meta, before *Meta) {
	switch kind {
	case Create:
		b.counts.Create++
	case Modify:
		b.counts.Modify++
	case Delete:
		b.counts.Delete++
	case TypeChange:
		b.counts.TypeChange++
	}
	raw := b.relative(path)
	text, b64 := textOf(raw)
	b.held = append(b.held, held{raw, &Entry{Path: text, PathB64: b64, Kind: kind, Meta: m, Before: before}})
	if len(b.held) >= 2*b.max+1024 {
		b.held = first(b.held, b.max)
	}
}

// Counts returns how many changes of each kind were added so far.
func (b *Builder) Counts() Counts { return b.counts }

// Finish returns the Diff: the first entries in the order of their bytes, and the counts of all.
func (b *Builder) Finish() *Diff {
	b.held = first(b.held, b.max)
	d := &Diff{
		Version:   SchemaVersion,
		Strategy:  b.strategy,
		Entries:   make([]Entry, len(b.held)),
		Counts:    b.counts,
		Truncated: b.counts.Total() > len(b.held),
	}
	d.Root, d.RootB64 = textOf(b.root)
	if d.Root == "" {
		d.Root = "/"
	}
	for i := range b.held {
		d.Entries[i] = *b.held[i].entry
	}
	d.Summary = b.counts.String()
	if d.Truncated {
		d.Summary += fmt.Sprintf(" (only the first %d are listed)", len(d.Entries))
	}
	return d
}

// first sorts the changes by name and returns the first max of them. It drops the last by name, not
// those that were found last, so that the list is the same each time.
func first(all []held, max int) []held {
	slices.SortFunc(all, func(x, y held) int { return strings.Compare(x.raw, y.raw) })
	if len(all) > max {
		clear(all[max:])
		all = all[:max]
	}
	return all
}

// relative returns path as an Entry shows it.
func (b *Builder) relative(path string) string {
	rest, below := strings.CutPrefix(path, b.root+"/")
	if !below || rest == "" {
		return path
	}
	return rest
}

// String returns the counts that are not 0 in words, such as "2 created, 1 modified, 1 deleted, 1
// type changed", or "no changes".
func (c Counts) String() string {
	var parts []string
	for _, p := range []struct {
		n    int
		word string
	}{{c.Create, "created"}, {c.Modify, "modified"}, {c.Delete, "deleted"}, {c.TypeChange, "type changed"}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.word))
		}
	}
	if len(parts) == 0 {
		return "no changes"
	}
	return strings.Join(parts, ", ")
}
