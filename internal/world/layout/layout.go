// Package layout decides which directory of a world gets which mount.
//
// Every real, writable file system gets an overlay with an upper of its own, where the changes of a
// command are found later. What cannot have an overlay becomes a read-only bind; proc, sys, dev and
// run are made new. A user's world cannot have an overlay over a directory with mounts below it, so
// such a directory is rebuilt around them. [Make] computes all that as plain values from the text
// of mountinfo and a few questions to a [FS]; it changes nothing. [Shadow.Create] and [Copy.Create]
// make the copies in a [Plan]. Package mount makes the mounts, and the caller makes the uppers.
package layout

import (
	"errors"

	"substrate/internal/world/mount"
)

// Input is the input of a plan.
type Input struct {
	MountInfo []byte   // /proc/self/mountinfo of a process that sees what the world will show
	FS        FS       // the files that this process sees; Host{} outside tests
	User      bool     // the world lives in a user namespace that maps only UID and GID
	UID, GID  int      // the caller
	Cwd       string   // working directory of the command; absolute
	Likely    []string // other directories that the command is likely to write to; absolute
	Temp      string   // directory for temporary files besides /tmp; "" for none
	Hide      []string
	EmptyDir  string // an empty directory on the host, to mask directories
	Empty     string // an empty regular file on the host, to mask files
	Resolv    string // a file on the host to show, read-only, as /etc/resolv.conf if the host has one; "" for the host's own
	Options   string // overlay options; "" for mount.OptionsRoot or mount.OptionsUser
	CopyMax   int64  // size limit for the copy of a file in bytes; 0 means DefaultCopyMax
	Place     func(kind PlaceKind, n int) string
}

// DefaultCopyMax is the size limit in bytes for files that are writable only as copies.
const DefaultCopyMax = 64 << 20

// PlaceKind is the purpose of a place on the host.
type PlaceKind uint8

// The kinds of place. Each is numbered from 0.
const (
	UpperDir  PlaceKind = iota // an empty directory with the mode and owner of the Upper
	WorkDir                    // an empty directory on the same file system
	ShadowDir                  // made by Shadow.Create
	CopyFile                   // made by Copy.Create

	UpperInMemory // like UpperDir and WorkDir, on a file system in memory if there is one
	WorkInMemory
)

// Plan is the file view of a world.
type Plan struct {
	Mounts  []mount.Mount // in this order, "/" first
	Uppers  []Upper
	Shadows []Shadow
	Copies  []Copy
	Notes   []string // what the world shows differently from the host, one line each
}

// Upper is one overlay. It holds the changes of a part of the tree.
type Upper struct {
	N    int    // number for Place
	Path string // mount point, the same inside and on the host
	Dir  string // upper, Place(UpperDir, N)
	Work string // Place(WorkDir, N)

	Lower    string // the directory that the overlay covers: Path, or the place of a Shadow of Path
	ReadOnly bool   // nothing can be written, so nothing will change
	InMemory bool   // little can be written: Dir and Work are an UpperInMemory and a WorkInMemory

	// MayRefuse is set if the world shows the directory of the host read-only when the kernel
	// refuses the overlay. That has happened if Work is empty when the world stands and ReadOnly is
	// not set, because a writable overlay makes a directory there. The user must be told.
	MayRefuse bool

	// What Dir must get before it is mounted: the world sees it as that of the mount point.
	Mode                uint32 // permission bits with setuid, setgid and sticky; in a user's world those that the caller has
	UID, GID            int
	MtimeSec, MtimeNsec int64
}

// Shadow is a copy of the entries of a directory, without what is below them. In a user's world it
// is the lower of an overlay for a directory that the caller may write to and that has mounts below
// it.
type Shadow struct {
	Path    string // directory on the host
	Place   string // Place(ShadowDir, n)
	Stat    Stat   // of Path, with the mode for the caller
	Entries []ShadowEntry
}

// ShadowEntry is one name in a Shadow.
type ShadowEntry struct {
	Name  string
	Empty bool // a mount point only: an empty file or directory
	Stat  Stat
}

// Copy is a file that the world shows as a writable bind of its copy. A comparison of the two shows
// what was written.
type Copy struct {
	Path  string // the file, the same inside and on the host
	Place string // Place(CopyFile, n)
}

// FS answers questions about files. Make does not ask about file systems that are remote or served
// by a process, because they may hang.
type FS interface {
	Lstat(path string) (Stat, error)
	ReadDir(path string) ([]Entry, error) // sorted by name
	IsEmpty(path string) bool             // the directory can be listed and is empty
	Readlink(path string) (string, error)
	Rights(path string) uint32 // what the caller may do, by ACLs too: 4 read, 2 write, 1 execute or search
}

// Stat is what Make must know of a file.
type Stat struct {
	Mode                uint32 // type and permission bits as in stat(2)
	UID, GID            int
	Size                int64 // bytes
	MtimeSec, MtimeNsec int64
}

// Entry is a name in a directory.
type Entry struct {
	Name string
	Type uint32 // the type bits of Stat.Mode
}

var errNoPlace = errors.New("layout: Input without Place or FS")
