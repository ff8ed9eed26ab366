// Package fsdiff is the list of file changes that a command made, and its JSON.
//
// A [Diff] names every path that was created, modified, deleted or replaced by something of another
// type. A [Builder] makes it from single changes. Package trace stores it. The package builds on
// every system.
package fsdiff

import (
	"encoding/base64"
	"unicode/utf8"
)

// SchemaVersion is the value of fs_diff_schema_version in every Diff.
const SchemaVersion = 1

// DefaultMax is the number of entries that a Diff holds unless the caller asks for another.
const DefaultMax = 10000

// Kind is what happened to a path.
type Kind string

// The four kinds of change.
const (
	Create     Kind = "create"
	Modify     Kind = "modify"
	Delete     Kind = "delete"
	TypeChange Kind = "type_change"
)

// FileType is the type of a file.
type FileType string

// The types of files on Linux.
const (
	File    FileType = "file"
	Dir     FileType = "dir"
	Symlink FileType = "symlink"
	Fifo    FileType = "fifo"
	Socket  FileType = "socket"
	Char    FileType = "char"
	Block   FileType = "block"
)

// Meta is what is known of a path at one moment.
type Meta struct {
	FileType   FileType `json:"file_type"`
	Mode       string   `json:"mode"`                  // permission bits with setuid, setgid and sticky, octal: "0644", "1777"
	UID        uint32   `json:"uid"`                   // owner as the host sees it
	GID        uint32   `json:"gid"`                   // group as the host sees it
	Size       int64    `json:"size"`                  // bytes; 0 for what has no content
	Mtime      string   `json:"mtime,omitempty"`       // RFC 3339, UTC, nanoseconds
	LinkTarget string   `json:"link_target,omitempty"` // of a symlink; base64 in link_target_b64 if not UTF-8
	LinkB64    string   `json:"link_target_b64,omitempty"`
}

// Entry is one change. Meta is the state after the change, but for a delete the
// state before it; Before is the state before a modify, type_change or delete.
type Entry struct {
	Path    string `json:"path"`               // relative to Diff.Root if below it, else absolute; U+FFFD for what is not UTF-8
	PathB64 string `json:"path_b64,omitempty"` // standard base64 of the path's bytes, only if they are not UTF-8
	Kind    Kind   `json:"kind"`
	Meta
	Before *Meta `json:"before,omitempty"`
}

// Counts is how many changes of each kind there are, also those that are not listed.
type Counts struct {
	Create     int `json:"create"`
	Modify     int `json:"modify"`
	Delete     int `json:"delete"`
	TypeChange int `json:"type_change"`
}

// Total is the number of changes.
func (c Counts) Total() int { return c.Create + c.Modify + c.Delete + c.TypeChange }

// Diff is the list of changes.
type Diff struct {
	Version   int     `json:"fs_diff_schema_version"`
	Root      string  `json:"root"`               // the working directory of the command, absolute
	RootB64   string  `json:"root_b64,omitempty"` // its bytes in standard base64, only where they are not UTF-8
	Strategy  string  `json:"strategy"`           // overlay, fuse, copy-diff
	Entries   []Entry `json:"entries"`            // sorted by the bytes of the path; never nil
	Counts    Counts  `json:"counts"`
	Truncated bool    `json:"fs_diff_truncated"`
	Summary   string  `json:"summary"` // "2 created, 1 modified", "no changes"; says so if the list was cut
}

// Raw returns the exact bytes of the path. It returns Path if PathB64 is not base64, which a
// [Builder] never makes.
func (e *Entry) Raw() string { return rawOf(e.Path, e.PathB64) }

// SetPath sets the path from the bytes of a name.
func (e *Entry) SetPath(raw string) { e.Path, e.PathB64 = textOf(raw) }

// Target returns the exact bytes of a symlink's target, "" for other types.
func (m *Meta) Target() string { return rawOf(m.LinkTarget, m.LinkB64) }

// SetTarget stores the exact bytes of a symlink's target.
func (m *Meta) SetTarget(raw string) { m.LinkTarget, m.LinkB64 = textOf(raw) }

// textOf returns bytes as JSON can hold them and, if that loses something, also as base64.
func textOf(raw string) (text, b64 string) {
	if utf8.ValidString(raw) {
		return raw, ""
	}
	// Not strings.ToValidUTF8: it makes one U+FFFD of several bad bytes.
	return string([]rune(raw)), base64.StdEncoding.EncodeToString([]byte(raw))
}

// rawOf is the reverse of textOf.
func rawOf(text, b64 string) string {
	if b64 == "" {
		return text
	}
	raw, err := base64.StdEncoding.DecodeString(b64)
	if err != nil {
		return text
	}
	return string(raw)
}
