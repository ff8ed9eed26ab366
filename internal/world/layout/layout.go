// Package layout decides which directory of a world gets which mount.
//
// The machine is split along its mounts: every real, writable file system gets an overlay
// with an upper of its own, in which the changes of a command are found later; what cannot have one
// becomes a read-only bind; proc, sys, dev and run are made new. A user's
// world cannot lay an overlay over a directory that has mounts below, so there such directories are rebuilt
// around them. [Make] computes all that as plain values from the text of mountinfo and a few
// questions to a [FS]; it changes nothing. [Shadow.Create] and [Copy.Create] make the copies that a [Plan] asks for.
// Mounting is done by package mount, and the uppers are made by the caller.
package layout

import (
	"errors"

	"substrate/internal/world/mount"
)

// Input is what a plan is made from.
type Input struct {
	MountInfo []byte   // /proc/self/mountinfo of a process with the view that the world shall have
	FS        FS       // the files of the same view; Host{} but in tests
	User      bool     // the world lives in a user namespace that maps UID and GID and nobody else
	UID, GID  int      // the caller
	Cwd       string   // working directory of the command; absolute
	Likely    []string // other directories that the command is likely to write to; absolute
	Temp      string   // directory for temporary files besides /tmp; "" for none
	Hide      []string
	EmptyDir  string // an empty directory on the host; it is shown where a directory is masked
	Empty     string // an empty regular file on the host; it is shown where a file is masked
	Resolv    string // a file on the host that is shown, read-only, as /etc/resolv.conf if the host has one; "" for the host's own
	Options   string // overlay options; "" for mount.OptionsRoot or mount.OptionsUser
	CopyMax   int64  // bytes of the largest file that is copied; 0 means DefaultCopyMax
	Place     func(kind PlaceKind, n int) string
}

// DefaultCopyMax is the size in bytes up to which a file is copied where only a copy can take the writes of a world.
const DefaultCopyMax = 64 << 20

// PlaceKind says what a place on the host is for.
type PlaceKind uint8

// The kinds of place. Each is counted from 0.
const (
	UpperDir  PlaceKind = iota // an empty directory with the mode and owner of the Upper
	WorkDir                    // an empty directory on the same file system
	ShadowDir                  // made by Shadow.Create
	CopyFile                   // made by Copy.Create

	UpperInMemory // as UpperDir and WorkDir, on a file system in memory if that can be had
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

// Upper is one overlay: where the changes of a part of the tree are found.
type Upper struct {
	N    int    // for Place
	Path string // mount point, the same inside and on the host
	Dir  string // upper, Place(UpperDir, N)
	Work string // Place(WorkDir, N)

	Lower    string // what the overlay covers: Path, or the place of a Shadow of Path
	ReadOnly bool   // nothing can be written, so there will be no change
	InMemory bool   // nothing of size can be written: Dir and Work are an UpperInMemory and a WorkInMemory

	// MayRefuse says that the world shows the host's directory read-only if the kernel refuses the overlay. It did if Work is empty once the
	// world stands, unless ReadOnly: an overlay that can be written makes a directory there. The user has to be told.
	MayRefuse bool

	// What Dir must be given before it is mounted, because the world sees it as that of the mount point.
	Mode                uint32 // permission bits with setuid, setgid and sticky; those that the caller has in a user's world
	UID, GID            int
	MtimeSec, MtimeNsec int64
}

// Shadow is a copy of what lies directly in a directory, without what is below. A user's world takes it as the lower of
// an overlay where the directory is the caller's to write and has mounts below it.
type Shadow struct {
	Path    string // directory on the host
	Place   string // Place(ShadowDir, n)
	Stat    Stat   // of Path, with the mode for the caller
	Entries []ShadowEntry
}

// ShadowEntry is one name in a Shadow.
type ShadowEntry struct {
	Name  string
	Empty bool // only a mount point of the same type: an empty file or directory
	Stat  Stat
}

// Copy is a file that is shown writable by a bind of its copy: what is written to it is found by comparing
// the two.
type Copy struct {
	Path  string // the file, the same inside and on the host
	Place string // Place(CopyFile, n)
}

// FS answers questions about files. No answer may depend on a file system that is remote or served by a
// process: Make does not ask about those.
type FS interface {
	Lstat(path string) (Stat, error)
	ReadDir(path string) ([]Entry, error) // sorted by name
	IsEmpty(path string) bool             // a directory that can be listed and holds nothing
	Readlink(path string) (string, error)
	Rights(path string) uint32 // what the caller may do, ACLs included: 4 read, 2 write, 1 execute or search
}

// Stat is what Make needs to know of a file.
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
