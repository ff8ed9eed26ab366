// Package world makes throw-away, copy-on-write views of the whole machine, runs commands in them,
// and reports what the commands changed and whom they tried to reach.
//
// [New] makes a world, [World.Run] runs a command in it, [World.Close] removes it. Package state
// finds and removes what a crash leaves behind. Nothing here knows of spans or traces: the caller
// gives names and gets a [Result].
package world

import (
	"os"
	"time"

	"substrate/fsdiff"
	"substrate/internal/world/net/netlog"
	"substrate/internal/world/state"
)

// Dirs is [state.Dirs].
type Dirs = state.Dirs

// Slots is [state.Slots].
type Slots = state.Slots

// Interrupted is [state.Interrupted]: New was ended while it waited or copied, or Run before the
// command was started.
type Interrupted = state.Interrupted

// NameOf is [state.NameOf].
func NameOf(id string) string { return state.NameOf(id) }

// Spec describes the world to make.
type Spec struct {
	Name     string // wanted name, checked here: [A-Za-z0-9_]{1,52}; "_2", "_3" … is added while a world of that name lives
	Dirs     Dirs
	Strategy string     // "" for the best that works; else exactly this one
	Require  bool       // refuse to run without an isolated view of the files: direct is no choice
	Upper    string     // "" for disk, "tmpfs" or "tmpfs:SIZE" for memory
	Hide     []string   // absolute paths of substrate's own store: masked inside, never in a diff
	Cwd      string     // root of the diff; the command's working directory
	Likely   []string   // other directories that the command is likely to write to, such as HOME; a user's world takes special care of them
	Temp     string     // the command's directory for temporary files, TMPDIR; "" for none but /tmp
	Limits   Limits     // zero values for none
	Signals  *Signals   // those that are passed on to the command; nil for none
	Slots    Slots      // how many worlds may run at once
	DiffMax  int        // entries in the diff; 0 means fsdiff.DefaultMax
	Bus      string     // address of the caller's D-Bus, on which their systemd is asked for a cgroup if need be; "" for none
	Root     bool       // the caller has a root's capabilities; no user namespace is made
	Observe  func(Step) // called for each step at the moment it happens; may be nil

	// Warn is called before the command is run with little or no isolation. The degradation is in
	// the Result as well. Warn may be nil.
	Warn func(Degradation)

	CopyMax int64                   // bytes that a copy of the working directory may take; 0 for no limit but the free space
	Copying func(done, total int64) // called now and then while a copy is made, with bytes; may be nil
}

// Step is one step of the set-up, for `[replay] ` lines.
type Step struct {
	Name   string // userns, mntns, overlay, pivot_root, proc, netns, nft, cgroup; "strategy" when one is chosen
	Detail string // "ok", or the reason why not, or the name of the strategy
	OK     bool
}

// Command is what to run in a world.
type Command struct {
	Path    string   // program: with a slash a path, without one it is looked for on the PATH of Env
	Argv    []string // argv, the zeroth included
	Dir     string   // working directory inside
	Env     []string
	Umask   int
	Stdin   *os.File // nil for /dev/null
	Stdout  *os.File // nil for /dev/null
	Stderr  *os.File
	TTY     bool          // give the command a PTY of the world's own and copy it to and from Stdin and Stdout
	Timeout time.Duration // 0 for none: SIGTERM to all processes, after Grace SIGKILL
	Grace   time.Duration // 0 means 2 s
}

// Degradation is something that the world has to do without.
type Degradation struct {
	Name    string // stands in degraded_components: "cgroup", "nft", "netns", "fs-view", "upper-disk"
	Message string // one line for the user, without prefix
	Remedy  string // one hint, printed after Message; may be empty
	Asked   bool   // the caller asked for what is missing, or isolation suffers: print it also without verbose
}

// Usage is what the command and its children consumed.
type Usage struct {
	User, System time.Duration
	MaxRSS       int64         // bytes, of the largest process
	GroupCPU     time.Duration // processor time of the whole cgroup, the set-up of the world included; 0 if unknown
	MemoryPeak   int64         // bytes, of the whole cgroup; 0 if unknown
	OOMKills     int           // processes that the kernel killed because memory ran out; 0 if none or unknown
}

// Compared is how many entries a copy had before and after the command.
type Compared struct{ Before, After int }

// Result is what happened.
type Result struct {
	Exit     int   // the command's status; 128+n if signal n killed it, 124 on timeout, 126, 127
	Signal   int   // that killed it, 0 for none
	ExecErr  error // why the command could not be started (Exit is 126 or 127 then), else nil
	TimedOut bool
	Started  time.Time
	Duration time.Duration // of the command alone
	Usage    Usage

	Diff         *fsdiff.Diff   // nil only if Degraded says why: with the strategy direct
	Compared     *Compared      // with the strategy copy-diff, for `copy-diff compared M→N entries`
	UpperEntries int            // number of entries in all uppers, for `upper entries: N`
	Blocked      []netlog.Event // each distinct attempt once, in order of its first appearance
	Lookups      []string       // names that were looked up and refused, each once
	Degraded     []Degradation
	Strategy     string
	Fallbacks    []string // reasons why better strategies were not taken
	WorldID      string   // wld_ and 32 hex digits
	Name         string
}
