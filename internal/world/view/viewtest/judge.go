package viewtest

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"substrate/fsdiff"
	"substrate/internal/world/view/viewtest/oracle"
)

// Judge compares a diff with what the oracle saw, in all fields of DIF1. It returns the
// differences, or "".
//
// Names of a hard-linked file may be missing if a note says how many.
func Judge(d *fsdiff.Diff, changes []oracle.Change, notes []string) string {
	var got, want []fsdiff.Entry
	got = append(got, d.Entries...)
	listed := make(map[string]bool)
	for i := range got {
		listed[got[i].Raw()] = true
	}
	counts := fsdiff.Counts{}
	missing := 0
	for _, c := range changes {
		e := entry(c, d.Root)
		if !listed[e.Raw()] && c.Kind == "modify" && c.Before.Links > 1 {
			missing++
			continue
		}
		want = append(want, e)
		counts = count(counts, e.Kind)
	}
	slices.SortFunc(want, func(a, b fsdiff.Entry) int { return strings.Compare(a.Raw(), b.Raw()) })
	diff := cmp.Diff(want, got)
	if d.Counts != counts {
		diff += fmt.Sprintf("counts are %+v, want %+v\n", d.Counts, counts)
	}
	if n := unlisted(notes); n != missing {
		diff += fmt.Sprintf("%d other names of hard links are missing, notes say %d: %q\n", missing, n, notes)
	}
	return diff
}

var unlistedNote = regexp.MustCompile(`^hard-links: .* has ([0-9]+) other names`)

// unlisted returns how many names are not listed according to the notes.
func unlisted(notes []string) (n int) {
	for _, note := range notes {
		if m := unlistedNote.FindStringSubmatch(note); m != nil {
			k, _ := strconv.Atoi(m[1]) // the expression has only digits
			n += k
		}
	}
	return n
}

func count(c fsdiff.Counts, kind fsdiff.Kind) fsdiff.Counts {
	switch kind {
	case fsdiff.Create:
		c.Create++
	case fsdiff.Modify:
		c.Modify++
	case fsdiff.Delete:
		c.Delete++
	case fsdiff.TypeChange:
		c.TypeChange++
	}
	return c
}

// entry returns the entry that the diff must have for a change.
func entry(c oracle.Change, root string) fsdiff.Entry {
	e := fsdiff.Entry{Path: c.Path, Kind: fsdiff.Kind(c.Kind)}
	if c.Path == "." {
		e.Path = root // the root is not below itself
	}
	if !utf8.ValidString(e.Path) {
		e.PathB64 = base64.StdEncoding.EncodeToString([]byte(e.Path))
		e.Path = string([]rune(e.Path))
	}
	if c.Before != nil {
		m := meta(c.Before)
		e.Meta, e.Before = m, &m
	}
	if c.After != nil {
		e.Meta = meta(c.After)
	}
	return e
}

func meta(f *oracle.File) fsdiff.Meta {
	m := fsdiff.Meta{
		FileType: fsdiff.FileType(f.Type), Mode: fmt.Sprintf("%04o", f.Mode), UID: f.UID, GID: f.GID, Size: f.Size,
		Mtime: f.Mtime.UTC().Format("2006-01-02T15:04:05.000000000Z07:00"),
	}
	if f.Type == "symlink" {
		m.SetTarget(f.Target)
	}
	return m
}
