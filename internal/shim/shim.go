// Package shim is the program behind the links that stand in front of other programs
// on PATH.
//
// A link has the name of the program that it stands for, so the name that the shim was
// called by says what to execute. This version executes it and records nothing; how links
// come to be on PATH is left to a later one.
package shim

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"substrate/internal/inherited"
)

// Exit statuses for a program that cannot be executed.
//
// Source: bash(1), EXIT STATUS.
const (
	statusNotExecutable = 126
	statusNotFound      = 127
)

// Main executes the program that this process was named after. It returns, with the exit
// status, only if that fails.
func Main() int {
	name := filepath.Base(os.Args[0])
	path := find(name, searchPath(os.Environ()), self())
	if path == "" {
		complain(name + ": command not found")
		return statusNotFound
	}
	err := inherited.Exec(path, os.Args, os.Environ())
	complain(name + ": " + err.Error())
	return statusNotExecutable
}

// complain writes one line to standard error.
func complain(text string) {
	_, _ = syscall.Write(2, []byte("substrate-shim: "+text+"\n")) // nobody is left to tell
}

// searchPath is where to look for programs: PATH as it was before the links were put in
// front, else PATH.
func searchPath(environ []string) string {
	path := ""
	for _, entry := range environ {
		if value, ok := strings.CutPrefix(entry, "SHIM_ORIGINAL_PATH="); ok {
			return value
		}
		if value, ok := strings.CutPrefix(entry, "PATH="); ok {
			path = value
		}
	}
	return path
}

// self is the file that runs here, so that it is never taken for the program.
func self() os.FileInfo {
	st, err := os.Stat("/proc/self/exe")
	if err != nil {
		return nil
	}
	return st
}

// find returns the first executable file of that name along path that is not self, also
// not through a link; "" if there is none.
func find(name, path string, self os.FileInfo) string {
	for _, dir := range filepath.SplitList(path) {
		file := filepath.Join(dir, name)
		st, err := os.Stat(file)
		if err != nil || !st.Mode().IsRegular() || st.Mode()&0o111 == 0 || (self != nil && os.SameFile(st, self)) {
			continue
		}
		return file
	}
	return ""
}
