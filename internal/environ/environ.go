// Package environ reads and changes environments and searches PATH.
//
// An environment is a list of NAME=VALUE strings, as in [os.Environ]. If a name stands in it twice
// the first entry counts, as in getenv(3). Entries without "=" have no name and are kept as they
// are. Which variables mean something to substrate is decided in package config.
package environ

import (
	"iter"
	"path/filepath"
	"strings"
)

// List is an environment. No method changes it.
type List []string

// Lookup returns the value of a variable and reports whether it is set.
func (l List) Lookup(name string) (value string, set bool) {
	for _, entry := range l {
		if len(entry) > len(name) && entry[len(name)] == '=' && entry[:len(name)] == name {
			return entry[len(name)+1:], true
		}
	}
	return "", false
}

// Get returns the value of a variable; "" if it is not set.
func (l List) Get(name string) string {
	value, _ := l.Lookup(name)
	return value
}

// All returns the names and values in order, also those that stand there twice.
func (l List) All() iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for _, entry := range l {
			if name, value, ok := strings.Cut(entry, "="); ok && !yield(name, value) {
				return
			}
		}
	}
}

// Map returns the values by name.
func (l List) Map() map[string]string {
	m := make(map[string]string, len(l))
	for name, value := range l.All() {
		if _, twice := m[name]; !twice {
			m[name] = value
		}
	}
	return m
}

// Without returns a copy without the variables whose names drop reports.
func (l List) Without(drop func(name string) bool) List {
	out := make(List, 0, len(l)+8) // the caller probably adds some
	for _, entry := range l {
		if name, _, ok := strings.Cut(entry, "="); !ok || !drop(name) {
			out = append(out, entry)
		}
	}
	return out
}

// Candidates returns the files that a search along path, the value of PATH, tries for a program, in
// order: DIR/NAME. An empty entry of path means the working directory, an empty path nothing at
// all. A name with a slash is not searched for: it is the only candidate.
//
// Source: POSIX.1-2017 XBD, 8.3, PATH; execvp(3).
func Candidates(path, name string) iter.Seq[string] {
	return func(yield func(file string) bool) {
		if strings.Contains(name, "/") {
			yield(name)
			return
		}
		for _, dir := range filepath.SplitList(path) {
			if dir == "" {
				dir = "."
			}
			if !yield(dir + "/" + name) {
				return
			}
		}
	}
}
