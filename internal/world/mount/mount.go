// Package mount holds mounts as plain values and turns them into system calls.
//
// A [Mount] describes what is where inside a world; package layout computes lists of them without
// any privilege. [Mount.Compile] turns one into ops for a process that has no Go runtime.
// Namespaces, pivot_root and what lies below the uppers are left to others.
package mount

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Kind says what a Mount does at its target.
type Kind uint8

// The kinds of Mount. Those that make a file, a device, a directory or a symlink take an existing
// one for success.
const (
	Overlay Kind = iota // Lower, Upper and Work seen as one; Options besides them in Data
	Bind                // Source alone, without what is mounted below it
	RBind               // Source and everything mounted below it; automounts are not triggered. Flags hold for all of it (Linux 5.12)
	Tmpfs               // an empty tmpfs; Data has its options, Mode the mode of its root
	Proc                // a fresh proc
	Sysfs               // a fresh sysfs
	Devpts              // a fresh devpts; options in Data
	Mkdir               // a directory with Mode
	Symlink             // a symbolic link that reads Source
	File                // an empty regular file with Mode, as a mount point; a fifo if Mode has S_IFIFO
	Remount             // adds Flags to what is already mounted at Target, and to nothing below it
	Device              // a character device with Mode and the number Dev; a user namespace may not make one
	Fuse                // a FUSE file system; its open device becomes descriptor FuseFD, with which the caller has it served
)

var kindNames = [...]string{"overlay", "bind", "rbind", "tmpfs", "proc", "sysfs", "devpts", "mkdir", "symlink", "file", "remount", "device", "fuse"}

// String returns the name of the kind in lower case.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "kind(" + strconv.Itoa(int(k)) + ")"
}

// Flags restrict what can be done through a mount. They are only ever added: a
// bind keeps the restrictions of its source.
type Flags uint8

// The restrictions of mount(8) with the same names.
const (
	ReadOnly Flags = 1 << iota
	NoSuid
	NoDev
	NoExec
)

var flagNames = [...]string{"ro", "nosuid", "nodev", "noexec"}

// String returns the flags as mount(8) writes them: "ro,nodev".
func (f Flags) String() string {
	var names []string
	for i, name := range flagNames {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// Mount is one step in building the file view of a world.
type Mount struct {
	Kind   Kind
	Step   string // for messages: "overlay", "proc", "sys", "dev", "run"
	Target string // absolute, inside the world; its directory must exist by then
	Source string // Bind, RBind: absolute path on the host; Symlink: the text of the link
	Inside bool   // Source is a path inside the world, not on the host

	Lower, Upper, Work string // Overlay: absolute paths on the host

	Flags    Flags
	Data     string // Overlay: options besides the directories; Tmpfs, Proc, Devpts: all options
	Dev      uint64 // Device: major and minor as in st_rdev
	Mode     uint32 // Mkdir, File, Device, Tmpfs: permission bits; the umask is not taken off if it is 0 by then
	Optional bool   // a failure is no error; the next Mount follows

	// MayVanish says that the host may have removed Lower or Source since the list was made: then
	// this Mount is left out.
	MayVanish bool
	Else      []Mount // what to do instead, all of it in this order, if this one fails. Optional then holds for them too
}

// String returns one line for messages and golden files. Names with blanks, control characters or
// bytes that are not UTF-8 are quoted.
func (m Mount) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-7s %s", m.Kind, quote(m.Target))
	field := func(name, value string) {
		if value != "" {
			b.WriteString(" " + name + "=" + quote(value))
		}
	}
	if m.Inside {
		field("inside", m.Source)
	} else {
		field("source", m.Source)
	}
	field("lower", m.Lower)
	field("upper", m.Upper)
	field("work", m.Work)
	switch m.Kind {
	case Device:
		fmt.Fprintf(&b, " dev=%d:%d", unix.Major(m.Dev), unix.Minor(m.Dev))
		fallthrough
	case Mkdir, File, Tmpfs:
		fmt.Fprintf(&b, " mode=%04o", m.Mode)
	}
	field("flags", m.Flags.String())
	field("data", m.Data)
	if m.Optional {
		b.WriteString(" optional")
	}
	if m.MayVanish {
		b.WriteString(" may-vanish")
	}
	for _, other := range m.Else {
		b.WriteString("\n    else " + strings.ReplaceAll(other.String(), "\n", "\n    "))
	}
	return b.String()
}

// quote returns s, in Go syntax if it would not read as one word.
func quote(s string) string {
	quoted := strconv.Quote(s)
	if strings.ContainsAny(s, " '") || quoted[1:len(quoted)-1] != s {
		return quoted
	}
	return s
}

// Memory asks for a tmpfs that holds the uppers. The supervisor gets its root directory as a
// descriptor and reads it through that after the world is gone; with the last descriptor it
// vanishes.
type Memory struct {
	Dir  string      // existing directory of the host on which it is mounted, seen by the world's set-up alone
	Data string      // options of the tmpfs
	Dirs []MemoryDir // made in it, in this order
}

// MemoryDir is a directory in a Memory.
type MemoryDir struct {
	Path     string // below Memory.Dir, absolute
	Mode     uint32
	UID, GID int // -1 leaves the owner alone
}
