package boot

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// rootKeeps are the capabilities that a root's command keeps in a world. What is missing could reach the
// host through the world: SYS_ADMIN, NET_ADMIN, SYS_MODULE, SYS_RAWIO, SYS_BOOT, SYS_TIME, MKNOD, SYS_PTRACE
// and, less known, DAC_READ_SEARCH, with which open_by_handle_at(2) opens any
// file of a file system past the overlay, and LINUX_IMMUTABLE, whose mark on an upper file would keep it from
// being removed.
//
// Source: capabilities(7).
var rootKeeps = []uint{
	unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER, unix.CAP_FSETID, unix.CAP_KILL,
	unix.CAP_SETGID, unix.CAP_SETUID, unix.CAP_SETPCAP, unix.CAP_NET_BIND_SERVICE, unix.CAP_NET_RAW,
	unix.CAP_IPC_LOCK, unix.CAP_IPC_OWNER, unix.CAP_SYS_CHROOT, unix.CAP_SETFCAP, unix.CAP_AUDIT_WRITE,
	unix.CAP_LEASE,
}

// keptBy says which capabilities a command keeps: a user's none.
func keptBy(user bool) (keep uint64) {
	if !user {
		for _, c := range rootKeeps {
			keep |= 1 << c
		}
	}
	return keep
}

// limitPrivileges takes from the second process, and so from the command, the way to privileges that could reach
// out of the world, as far as the first has it still. It keeps those that it has, with which it builds the file view.
func limitPrivileges(p *program, user bool) {
	p.step("capabilities")
	if user {
		p.call(unix.SYS_PRCTL, Num(unix.PR_SET_NO_NEW_PRIVS), Num(1))
	}
	p.seccomp() // needs a capability that goes with the rest
}

// dropCapabilities takes the capabilities themselves.
func dropCapabilities(p *program, user bool) {
	p.step("capabilities")
	p.setCapabilities(keptBy(user))
	p.try(unix.SYS_PRCTL, Num(unix.PR_CAP_AMBIENT), Num(unix.PR_CAP_AMBIENT_CLEAR_ALL))
}

// setCapabilities leaves the process those and no others.
func (p *program) setCapabilities(keep uint64) {
	p.call(unix.SYS_CAPSET, p.data(words(unix.LINUX_CAPABILITY_VERSION_3, 0)), p.data(words(
		uint32(keep), uint32(keep), 0, uint32(keep>>32), uint32(keep>>32), 0)))
}

func words(list ...uint32) []byte {
	var b []byte
	for _, w := range list {
		b = binary.NativeEndian.AppendUint32(b, w)
	}
	return b
}
