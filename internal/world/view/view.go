// Package view gives a world its view of the files.
//
// There are several ways to do that, the strategies: [Strategies] lists them, the best first. Each
// plans a [View]: what is to be mounted, and how the changes are found afterwards. The init process
// of the world makes the mounts. Package layout decides which directory gets which mount; packages
// upper and snapshot find the changes.
package view

import (
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

// Strategy is one way to give a world its view of the files: what the choice of a strategy must know
// before it is tried, and two functions.
type Strategy struct {
	Name string

	// NoWorld is set if the command runs on the host itself. There is nothing to try, no isolation
	// and no list of changes.
	NoWorld bool

	// AnyDisk is set if the changes are kept on disk, whatever file system that is, also where the
	// kernel's overlay accepts no upper. Request.Dir is then never empty.
	AnyDisk bool

	// CwdOnly is set if the view is a copy of the working directory alone.
	CwdOnly bool

	// InPlace is a weaker form that needs no mount namespace; nil if there is none. The caller must
	// choose between them before Prepare, which is expensive.
	InPlace *Strategy

	Trial   string // name of the check that makes a world with the strategy
	Warning string // what users are told when they get the strategy without asking for it; "" for nothing
	Remedy  string // what they can do about it

	// Checks asks this host for what the strategy needs, by trying what can be tried without a world.
	// It stops at the first thing that is missing. root is as in [Request]. It may be nil.
	Checks func(root bool) []probe.Check

	// Prepare plans a view and makes on disk what it needs, all of it below r.Dir or r.State. On error
	// the caller removes them. The error wraps [probe.ErrUnsupported] if this host, or this request,
	// cannot have the view.
	Prepare func(r *Request) (View, error)
}

// View is the file view of one world.
type View interface {
	// Mounts says what the first process of the world has to mount.
	Mounts() Mounts

	// Diff adds to b what the command changed, after all processes of the world have ended. memory is the root
	// of Mounts.Memory, or -1. The error says that the list is incomplete, or wraps [ErrUntracked].
	Diff(b *fsdiff.Builder, memory int) (Found, error)

	// Close ends what the view keeps running. What it made on disk lies below Request.Dir and Request.State and is
	// removed with them. It is safe to call twice.
	Close() error
}

// OnHost is a View without mounts: there is no mount namespace to be had, so the command runs among the host's
// processes and sees the host's files under their own paths.
type OnHost interface {
	View

	// WorkDir is where a command runs whose working directory is cwd, on the host.
	WorkDir(cwd string) string

	// Env is the environment of the command, made from the one that it would have elsewhere.
	Env(env []string) []string

	// Confine restricts the calling thread before the command is forked from it; an error keeps the command from being
	// run. The thread is locked and ends after that. It does nothing where nothing can be restricted. What the
	// command prints to, given as open, it may open anew.
	Confine(open ...*os.File) error
}

// Served is a View of which some mounts are served by processes.
type Served interface {
	View

	// Serve starts the process behind the next mount of kind Fuse, in the order of Mounts. device is its open /dev/fuse, which
	// the caller closes afterwards. The process dies with the view, and with this process.
	Serve(device *os.File) error

	// Failure is what these processes have to say about a set-up that failed; nil for nothing.
	Failure() error
}

// Mounts is what the first process of a world mounts.
type Mounts struct {
	List   []mount.Mount // in this order, "/" first
	Memory *mount.Memory // uppers in memory; nil if they are on disk
	Notes  []string      // what the world shows differently from the host, one line each
	Limits []string      // how the view falls short of a world, one line each
}

// Request says what view is wanted.
type Request struct {
	Root   bool     // the caller has a root's capabilities: no user namespace is made
	Cwd    string   // working directory of the command, root of the diff; absolute
	Likely []string // other directories that the command is likely to write to
	Temp   string   // directory for temporary files besides /tmp; "" for none
	Hide   []string // absolute paths that the world masks and that are in no diff

	MountInfo []byte // /proc/self/mountinfo
	EmptyDir  string // an empty directory on the host
	Empty     string // an empty regular file on the host
	Resolv    string // a file on the host that is shown as /etc/resolv.conf

	Dir     string                  // existing directory of the world, on disk; "" if the changes are to be kept in memory
	State   string                  // existing directory of the world's state
	Memory  string                  // existing directory on which a tmpfs for the changes may be mounted
	CopyMax int64                   // bytes that a copy may take; 0 for no limit but the free space
	Copying func(done, total int64) // called while a copy is made, with bytes; may be nil
	Stop    <-chan struct{}         // closed if the caller wants Prepare to give up; may be nil

	MemorySize string // its size as tmpfs takes it: "512M", "25%"; "" for tmpfs's own default
}

// Found is what Diff has to say besides the changes.
type Found struct {
	Entries  int      // number of entries that were looked at: those of all uppers, or of the copy
	Before   int      // number of entries that the copy had at the start; 0 without a copy
	ReadOnly []string // paths over which the kernel refused an overlay, so that they were read-only
	Notes    []string // what could not be looked at or is not listed, one line each
}

// MadeNew are the directories that a world with mounts does not share with the host and that are in no diff.
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

// Find returns the strategy of that name. Found is false if there is none.
func Find(name string) (s Strategy, found bool) {
	for _, s := range Strategies() {
		if s.Name == name {
			return s, true
		}
	}
	return s, false
}
