package trace

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// source is one open file of a trace.
type source struct {
	*os.File
	size int64 // bytes when it was opened; what is appended later is not read
}

// openAll opens the trace at path and its rotated files, newest first. It opens all before any is
// read, so that a rotation hides no line. One of them has to exist; otherwise the error wraps
// [fs.ErrNotExist].
func openAll(path string) ([]source, error) {
	path = realPath(path)
	numbers, err := rotated(path)
	if err != nil {
		return nil, err
	}
	var o opener
	if _, err := o.add(path); err != nil {
		return nil, errors.Join(err, closeAll(o.sources))
	}
	// A rotation moves files to higher numbers meanwhile, so try where the numbers end.
	tried := make(map[int]bool)
	for _, n := range append([]int{1}, numbers...) {
		for there := true; there && !tried[n]; n++ {
			tried[n] = true
			if there, err = o.add(numbered(path, n)); err != nil && !errors.Is(err, ErrNotRegular) {
				return nil, errors.Join(err, closeAll(o.sources))
			}
		}
	}
	if len(o.sources) == 0 {
		return nil, fmt.Errorf("open trace: %w", o.missing)
	}
	return o.sources, nil
}

// Files returns the existing files of the trace at path, newest first. The error wraps
// [fs.ErrNotExist] if there are none.
func Files(path string) ([]string, error) {
	sources, err := openAll(path)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, src := range sources {
		names = append(names, src.Name())
	}
	return names, closeAll(sources)
}

// Beside returns the rotated files and indexes of the trace at path that it can find.
func Beside(path string) []string {
	path = realPath(path)
	numbers, _ := rotated(path) // without the directory there is nothing
	names := []string{path + indexSuffix}
	for _, n := range numbers {
		names = append(names, numbered(path, n), numbered(path, n)+indexSuffix)
	}
	return slices.DeleteFunc(names, func(name string) bool {
		_, err := os.Lstat(name)
		return err != nil
	})
}

// opener collects the files of a trace, each once.
type opener struct {
	sources []source
	missing error
}

// add opens a file and reports whether it exists.
func (o *opener) add(name string) (there bool, err error) {
	src, err := openSource(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		o.missing = errors.Join(o.missing, err)
		return false, nil
	case err != nil:
		return false, err
	case slices.ContainsFunc(o.sources, src.sameFile): // renamed while we were opening
		return true, src.Close()
	}
	o.sources = append(o.sources, src)
	return true, nil
}

// rotated returns the numbers of the rotated files beside path, newest and so smallest first.
func rotated(path string) ([]int, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("look for traces: %w", err)
	}
	var numbers []int
	for _, entry := range entries {
		suffix, ok := strings.CutPrefix(entry.Name(), filepath.Base(path)+".")
		if t := entry.Type(); t != 0 && t != fs.ModeSymlink {
			continue // not one of ours
		}
		if n, err := strconv.Atoi(suffix); ok && err == nil && n > 0 && suffix == strconv.Itoa(n) {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// openSource opens a file for reading. It never waits: a named pipe is an error.
func openSource(name string) (source, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|nonblock, 0)
	if err != nil {
		return source{}, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = notRegular(name)
	}
	if err != nil {
		return source{}, errors.Join(fmt.Errorf("open trace: %w", err), f.Close())
	}
	return source{File: f, size: st.Size()}, nil
}

func (s source) sameFile(other source) bool {
	a, errA := s.Stat()
	b, errB := other.Stat()
	return errA == nil && errB == nil && os.SameFile(a, b)
}

func closeAll(sources []source) error {
	var err error
	for _, src := range sources {
		err = errors.Join(err, src.Close())
	}
	return err
}

// growTries is how often a reader checks, a millisecond apart, whether a writer completes a last
// line before the line counts as torn.
const growTries = 20

// grows reports whether something was appended since the file was opened.
func (s source) grows(tries int) bool {
	for range cmp.Or(tries, growTries) {
		fi, err := s.Stat()
		if err != nil {
			return false
		}
		if fi.Size() > s.size {
			return true
		}
		time.Sleep(time.Millisecond)
	}
	return false
}
