// Package doctor reports what this host supports for worlds, by trying, and how to fix what it does
// not support.
//
// A [Report] holds facts and a table of rows; a row is the answer to one check, with its remedy.
// All checks run at the same time. Each has a time limit, because a process that looks at a dead
// mount can hang. The packages below world know how things are checked, and package world chooses
// the strategy. The caller prints the report.
package doctor

import (
	_ "embed"
	"strings"
	"time"

	"substrate/internal/world"
)

// SchemaVersion is the value of doctor_schema_version in every Report.
const SchemaVersion = 1

//go:embed schema.json
var schema []byte

// Schema returns the JSON Schema (2020-12) of a Report.
func Schema() []byte { return schema }

// Status is how good an answer is.
type Status string

// The words that rows begin with.
const (
	Pass Status = "PASS"
	Warn Status = "WARN" // works less well, or only for some
	Fail Status = "FAIL" // worlds cannot be had, or not without danger
)

// Row is one line of the table.
type Row struct {
	Name   string `json:"name"`
	Status Status `json:"status"`
	Detail string `json:"detail"`
	Fix    string `json:"fix,omitempty"` // one hint; "" if nothing is wrong or nothing helps
}

// Host is the user for whom, and the directories where, the checks are made.
type Host struct {
	Dirs world.Dirs
	Root bool   // the caller has a root's capabilities
	Bus  string // address of the caller's D-Bus; "" for none
}

// Report is what --json prints (DOC2).
type Report struct {
	Version  int        `json:"doctor_schema_version"`
	OK       bool       `json:"ok"`       // overlay or fuse can be used
	Strategy string     `json:"strategy"` // which one a replay would get now
	Rejected []Rejected `json:"strategies_rejected"`

	Kernel    string `json:"kernel"`
	Arch      string `json:"arch"`
	Distro    string `json:"distro"`
	Container string `json:"container"` // what is known of it; "" for none
	UID       int    `json:"uid"`
	Root      bool   `json:"root"` // with a root's capabilities

	Userns         string `json:"userns"` // enabled, restricted, root-only, disabled
	OverlayMountOK bool   `json:"overlay_mount_ok"`
	Fuse           Fuse   `json:"fuse"`
	CgroupV2       bool   `json:"cgroup_v2"`
	Cgroup         Cgroup `json:"cgroup"`
	Nft            Nft    `json:"nft"`
	Nflog          bool   `json:"nflog"`          // a blocked attempt was seen in a world
	DmesgRestrict  int    `json:"dmesg_restrict"` // -1 if unknown
	NfLogAllNetns  int    `json:"nf_log_all_netns"`
	IPv6           bool   `json:"ipv6"`

	SELinux      string   `json:"selinux"`  // enforcing, permissive, disabled, disabled-in-container
	AppArmor     string   `json:"apparmor"` // enabled, disabled, disabled-in-container
	LandlockABI  int      `json:"landlock_abi"`
	Capabilities []string `json:"capabilities"` // effective ones

	RunRoot      string `json:"run_root"`      // "" if no candidate can be used
	OverlayRoot  string `json:"overlay_root"`  // the same; changes are kept in memory then
	CopydiffRoot string `json:"copydiff_root"` // the same

	Checks []Row `json:"checks"`
}

// Rejected is a better strategy that a replay would not get.
type Rejected struct {
	Strategy string `json:"strategy"`
	Reason   string `json:"reason"`
	Remedy   string `json:"remedy"`
}

// Fuse describes what the strategy fuse needs.
type Fuse struct {
	Device  string `json:"device"`  // ok, missing, or what is wrong with /dev/fuse
	Program string `json:"program"` // path of fuse-overlayfs; "" without it
	Version string `json:"version"`
	MountOK bool   `json:"mount_ok"`
}

// Cgroup describes cgroup v2.
type Cgroup struct {
	Mount   string   `json:"mount"`   // "" if it is not mounted
	Parent  string   `json:"parent"`  // where the groups of worlds lie; "" if none can be made
	Missing []string `json:"missing"` // controllers that worlds would do without
}

// Nft describes nf_tables. Worlds do not use the program.
type Nft struct {
	Present bool   `json:"present"` // the program nft
	Version string `json:"version"`
	Kernel  bool   `json:"kernel"` // rules were installed in a world
}

// finding is the result of one check.
type finding struct {
	rows []Row
	set  func(*Report) // fills in the facts; may be nil
}

// check asks one question, or several in a fixed order.
type check struct {
	name  string
	limit time.Duration
	ask   func(Host) finding
}

// quick limits checks of files and directories, slow those that start programs or make worlds. A
// healthy machine needs a small part of a second for all; an overloaded or emulated one needs more.
const (
	quick = 3 * time.Second
	slow  = 30 * time.Second
)

// checks are all checks, in the order of the table.
var checks = []check{
	{"kernel", quick, askKernel},
	{"capabilities", quick, askCapabilities},
	{"userns", quick, askUserns},
	{"fuse", slow, askFuse},
	{"cgroup", quick, askCgroup},
	{"strategy", slow, askStrategies},
	{"nft", slow, askNft},
	{"kernel log", quick, askKernelLog},
	{"ipv6", quick, askIPv6},
	{"security modules", quick, askSecurity},
	{"directories", quick, askPlaces},
}

// newReport returns a report that no check has filled in yet.
func newReport(h Host) *Report {
	return &Report{
		Version: SchemaVersion, Rejected: []Rejected{}, DmesgRestrict: -1, NfLogAllNetns: -1,
		Capabilities: []string{}, Cgroup: Cgroup{Missing: []string{}}, Root: h.Root,
	}
}

// Run makes all checks.
func Run(h Host) *Report {
	r := newReport(h)
	for _, f := range runAll(h, checks) {
		r.Checks = append(r.Checks, f.rows...)
		if f.set != nil {
			f.set(r)
		}
	}
	return r
}

// runAll makes the checks at the same time and returns their results in order. Once a check has
// given no answer, the others get only the time of a quick one, because they probably hang as well.
func runAll(h Host, checks []check) []finding {
	answers := make([]<-chan finding, len(checks))
	for i, c := range checks {
		answers[i] = begin(h, c)
	}
	found := make([]finding, len(checks))
	limit := slow
	for _, isQuick := range []bool{true, false} {
		for i, c := range checks {
			if (c.limit <= quick) != isQuick {
				continue
			}
			c.limit = min(c.limit, limit)
			var answered bool
			if found[i], answered = wait(c, answers[i]); !answered {
				limit = quick
			}
		}
	}
	return found
}

// begin starts a check. If it hangs it ends with the process.
func begin(h Host, c check) <-chan finding {
	answer := make(chan finding, 1)
	go func() { answer <- c.ask(h) }()
	return answer
}

// wait returns the answer of a check, and reports whether there is one in time.
func wait(c check, answer <-chan finding) (f finding, answered bool) {
	timer := time.NewTimer(c.limit)
	defer timer.Stop()
	select {
	case f = <-answer:
		return f, true
	case <-timer.C:
		return finding{rows: []Row{{
			c.name, Fail, "no answer within " + c.limit.String(), "look for a dead network or FUSE mount: cat /proc/self/mountinfo",
		}}}, false
	}
}

// Text is the report as a table: each row begins with its status and ends with its fix.
func (r *Report) Text() string {
	width := 0
	for _, row := range r.Checks {
		width = max(width, len(row.Name))
	}
	var b strings.Builder
	for _, row := range r.Checks {
		b.WriteString(string(row.Status) + "  " + row.Name + strings.Repeat(" ", width-len(row.Name)) + "  " + oneLine(row.Detail))
		if row.Fix != "" {
			b.WriteString("; fix: " + oneLine(row.Fix))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// oneLine replaces control characters, which would break the table.
func oneLine(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return ' '
		}
		return c
	}, s)
}
