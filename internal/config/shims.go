package config

import "strings"

// ShimsFirst puts dir, the directory of the shims, first on path, the value of PATH, exactly once.
// It gives that, and path without dir, which is what a shim searches and what a span records. Other
// entries keep their order, also empty ones, which mean the working directory. Both are
// path itself if there is nothing to put in front: without dir, if path is empty (a shell
// without PATH has a default of its own, which one entry would replace), or if dir has a colon
// and so cannot stand in a PATH.
//
// Source: SHM7; POSIX.1-2017 XBD, 8.3, PATH.
func ShimsFirst(path, dir string) (first, original string) {
	if dir == "" || path == "" || strings.Contains(dir, ":") {
		return path, path
	}
	if !strings.Contains(path, dir) { // nearly always
		return dir + ":" + path, path
	}
	keep := make([]string, 0, strings.Count(path, ":")+1)
	for entry := range strings.SplitSeq(path, ":") {
		if entry == "" || strings.TrimRight(entry, "/") != dir {
			keep = append(keep, entry)
		}
	}
	if len(keep) == 0 { // a colon behind dir would add the working directory
		return dir, ""
	}
	original = strings.Join(keep, ":")
	return dir + ":" + original, original
}
