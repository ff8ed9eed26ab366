// Package plain holds the facts and the text formats that both start routes need: the ordinary one
// and that of package prestart, which runs before the Go runtime.
//
// What prestart calls allocates nothing, builds no map, converts between no types that need a copy,
// and calls only functions like itself; a test in prestart looks at its instructions. So strings
// are compared by [Same] and not by ==, which calls into a distant part of the program. Text is
// written into a [Buffer], which has a fixed size on one route and grows on the other. The package
// builds on every system, because package trace imports it.
package plain

import "unsafe"

// Exit statuses for a program that does not run.
//
// Source: bash(1), EXIT STATUS; GNU coreutils, "env invocation".
const (
	StatusFailure       = 125 // an error of substrate itself
	StatusNotExecutable = 126
	StatusNotFound      = 127
)

// Names of files.
const (
	Dir          = ".substrate"     // in the home directory
	TraceName    = "trace.jsonl"    // in Dir
	ShimsName    = "shims"          // in Dir: the directory of the links
	RemovedName  = "shims.removed"  // in Dir: the user does not want shims
	ShimProgram  = "substrate-shim" // what the links lead to
	StampName    = ".stamp"         // in the directory of the links: what was deployed, for each command
	MetadataName = ".version"       // in the directory of the links: what was deployed, in full
	OwnProgram   = "/proc/self/exe" // the program that runs here
	DefaultShell = "/bin/bash"
	Python       = "python"  // programs whose names begin so get their path as argv[0]
	ScriptShell  = "/bin/sh" // runs scripts that name no interpreter, as execvp(3) does
)

// Limits and defaults.
const (
	// MaxDepth is how deeply recorded commands may be nested before $SHELL is no longer used. If
	// $SHELL is a wrapper that starts substrate, each level would start the next for ever.
	MaxDepth = 32
	// MaxCallStack is the number of names that a call stack holds at most (SHM6).
	MaxCallStack = 8
	// MaxTokenLength is the length of an id in the environment, in bytes, at most.
	MaxTokenLength = 128
	// DefaultMaxMB is the size at which a trace is rotated, in MiB (TRC3).
	DefaultMaxMB = 100
	// DefaultAgent is the agent of a span if no variable names one.
	DefaultAgent = "human"
)

// View is b as a string, without a copy. It changes with b.
func View(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// Same reports whether two strings are equal.
func Same(a, b string) bool { return len(a) == len(b) && Compare(a, b) == 0 }

// Compare is negative if a sorts before b, and 0 if they are equal.
func Compare(a, b string) int {
	for i := 0; i < len(a) && i < len(b); i++ {
		if a[i] != b[i] {
			return int(a[i]) - int(b[i])
		}
	}
	return len(a) - len(b)
}

// Begins reports whether s begins with prefix.
func Begins(s, prefix string) bool { return len(s) >= len(prefix) && Same(s[:len(prefix)], prefix) }

// Index is where c first stands in s; -1 if it does not.
func Index(s string, c byte) int {
	for i := range len(s) {
		if s[i] == c {
			return i
		}
	}
	return -1
}

// Contains reports whether part stands in s.
func Contains(s, part string) bool {
	for i := 0; i+len(part) <= len(s); i++ {
		if Same(s[i:i+len(part)], part) {
			return true
		}
	}
	return false
}

// Base is what follows the last slash of path.
func Base(path string) string {
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == '/' {
			return path[i+1:]
		}
	}
	return path
}

// Part is the part of list that begins at from and ends before the next separator. The next part
// begins at next. The last part was returned if next is greater than the length of the list.
func Part(list string, from int, separator byte) (part string, next int) {
	end := from
	for end < len(list) && list[end] != separator {
		end++
	}
	return list[from:end], end + 1
}

// Trimmed is s without the slashes at its end.
func Trimmed(s string) string {
	for s != "" && s[len(s)-1] == '/' {
		s = s[:len(s)-1]
	}
	return s
}
