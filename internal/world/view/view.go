// Package view gives a world its view of the files.
//
// There are several ways to do that, called strategies: [Strategies] lists them, the best first.
// Each plans a [View]: what to mount, and how to find the changes afterwards. The init process of
// the world makes the mounts. Package layout decides which directory gets which mount; packages
// upper and snapshot find the changes.
package view

import (
	"errors"
	"os"

	"substrate/fsdiff"
	"substrate/internal/probe"
	"substrate/internal/world/mount"
)

// The names of the strategies (WLD3).
const (
	Overlay  = "overlay"
	Fuse     = "fuse"
	CopyDiff = "copy-diff"
	Direct   = "direct"
)

// Strategy is one way to give a world its view of the files. The facts are known before it is
// tried.
type Strategy struct {
	Name string

	// NoWorld is set if the command runs on the host itself. There is nothing to try, no isolation
	// and no list of changes.
	NoWorld bool

	// AnyDisk is set if the changes are kept on disk, even on a file system that the kernel's
	// overlay does not accept for an upper. Request.Dir is never empty then.
	AnyDisk bool

	// CwdOnly is set if the view is a copy of the working directory alone.
	CwdOnly bool

	// InPlace is a weaker form that needs no mount namespace; nil if there is none. The caller must
	// choose between them before Prepare, which is expensive.
	InPlace *Strategy

	Trial   string // name of the check that makes a trial world with the strategy
	Warning string // shown to users who get the strategy without asking for it; "" for none
	Remedy  string // what they can do about it

	// Checks tries what can be tried on this host without a world. It stops at the first thing that
	// is missing. root is as in [Request]. Nil means that there is nothing to check.
	Checks func(root bool) []probe.Check

	// Prepare plans a view and makes what it needs on disk, below r.Dir or r.State. On error the
	// caller empties them. The error wraps [probe.ErrUnsupported] if the view is not possible on
	// this host or for this request.
	Prepare func(r *Request) (View, error)
}

// View is the file view of one world.
type View interface {
	// Mounts returns what the init process of the world has to mount.
	Mounts() Mounts

	// Diff adds to b what the command changed. All processes of the world must have ended. memory
	// is a descriptor of the root of Mounts.Memory, or -1. The error says that the list is
	// incomplete, or wraps [ErrUntracked].
	Diff(b *fsdiff.Builder, memory int) (Found, error)

	// Close ends the processes of the view. The caller removes Request.Dir and Request.State. It is
	// safe to call twice.
	Close() error
}

// OnHost is a View without mounts, for hosts without mount namespaces. The command runs among the
// processes of the host and sees its files under their own paths.
type OnHost interface {
	View

	// WorkDir returns where a command with the working directory cwd runs on the host.
	WorkDir(cwd string) string

	// Env returns the environment of the command, made from env.
	Env(env []string) []string

	// Confine restricts the calling thread, which starts the command afterwards. The caller has
	// locked the thread and never unlocks it, and does not start the command on error. If nothing
	// can be restricted, Confine does nothing. The command may open the files in open again, such
	// as its standard output.
	Confine(open ...*os.File) error
}

// Served is a View with mounts that are served by processes.
type Served interface {
	View

	// Serve starts the process behind the next mount of kind Fuse, in the order of Mounts. device
	// is its open /dev/fuse; the caller closes it. The process dies with the view, and with this
	// process.
	Serve(device *os.File) error

	// Failure returns why these processes failed during set-up; nil if they did not.
	Failure() error
}

// Mounts is what the init process of a world mounts.
type Mounts struct {
	List   []mount.Mount // in this order, "/" first
	Memory *mount.Memory // uppers in memory; nil if they are on disk
	Notes  []string      // what the world shows differently from the host, one line each
	Limits []string      // what the view lacks compared with a world, one line each
}

// Request describes the view that is wanted.
type Request struct {
	Root   bool     // the caller has the capabilities of root, so there is no user namespace
	Cwd    string   // working directory of the command, and root of the diff; absolute
	Likely []string // other directories that the command is likely to write to
	Temp   string   // directory for temporary files besides /tmp; "" for none
	Hide   []string // absolute paths that the world hides, and that are in no diff

	MountInfo []byte // /proc/self/mountinfo
	EmptyDir  string // an empty directory on the host
	Empty     string // an empty regular file on the host
	Resolv    string // a file on the host that is shown as /etc/resolv.conf

	Dir     string                  // existing directory of the world on disk; "" to keep the changes in memory
	State   string                  // existing directory of the world's state
	Memory  string                  // existing directory on which a tmpfs for the changes may be mounted
	CopyMax int64                   // limit for a copy in bytes; 0 for none but the free space
	Copying func(done, total int64) // called while a copy is made, with bytes on disk; may be nil
	Stop    <-chan struct{}         // closed when Prepare must stop; may be nil

	MemorySize string // size of that tmpfs: "512M", "25%"; "" for the default
}

// Found is what Diff returns besides the changes.
type Found struct {
	Entries  int      // number of entries that Diff looked at: in all uppers, or in the copy
	Before   int      // number of entries that the copy had at the start; 0 without a copy
	ReadOnly []string // paths that were read-only because the kernel refused an overlay
	Notes    []string // what Diff could not read or does not list, one line each
}

// MadeNew are the directories that are new in a world with mounts. They are in no diff.
var MadeNew = []string{"/proc", "/sys", "/dev", "/run"}

// Strategies returns all strategies, the best first (WLD3).
func Strategies() []Strategy {
	return []Strategy{
		{Name: Overlay, Trial: "overlay_mount_ok", Prepare: prepareOverlay},
		{Name: Fuse, Trial: "fuse_mount_ok", AnyDisk: true, Checks: checkFuse, Prepare: prepareFuse},
		{
			Name: CopyDiff, Trial: "copy_diff_ok", AnyDisk: true, CwdOnly: true, InPlace: &copyInPlace, Prepare: prepareCopy,
			Warning: "overlay and fuse-overlayfs unavailable; using copy-diff", Remedy: "install fuse-overlayfs and enable /dev/fuse",
		},
		{
			Name: Direct, NoWorld: true, Prepare: func(*Request) (View, error) { return directView{}, nil },
			Warning: "no isolated file view available; running directly on the host, file changes are not tracked",
		},
	}
}

// Find returns the strategy of that name; found is false if there is none.
func Find(name string) (s Strategy, found bool) {
	for _, s := range Strategies() {
		if s.Name == name {
			return s, true
		}
	}
	return s, false
}

// ErrUntracked is returned by Diff if the view does not know what the command changed.
var ErrUntracked = errors.New("file changes are not tracked")

// directView shows the host as it is.
type directView struct{}

func (directView) Mounts() Mounts { return Mounts{} }

func (directView) Diff(*fsdiff.Builder, int) (Found, error) { return Found{}, ErrUntracked }

func (directView) Close() error { return nil }

func (directView) WorkDir(cwd string) string { return cwd }

func (directView) Env(env []string) []string { return env }

func (directView) Confine(...*os.File) error { return nil }
