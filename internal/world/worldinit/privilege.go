package worldinit

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

// lastCap is above any capability that Linux has; dropping one that does not exist fails harmlessly.
const lastCap = 45

// dropPrivileges takes from the first process, and so from the command, what could reach
// out of the world: for a user every capability and the way to new ones, for root all but rootKeeps.
func (s *Setup) dropPrivileges(p *Program) {
	p.Step("capabilities")
	var keep uint64
	if !s.User {
		for _, c := range rootKeeps {
			keep |= 1 << c
		}
	}
	for c := range lastCap {
		if keep&(1<<c) == 0 {
			p.Try(unix.SYS_PRCTL, Num(unix.PR_CAPBSET_DROP), Num(c))
		}
	}
	if s.User {
		p.Call(unix.SYS_PRCTL, Num(unix.PR_SET_NO_NEW_PRIVS), Num(1))
	}
	// The caller's session keyring would be read and filled through the world. Where the call is refused, by a
	// container's seccomp profile for one, so is every other use of keyrings.
	//
	// Source: keyctl_join_session_keyring(3); session-keyring(7).
	p.Try(unix.SYS_KEYCTL, Num(unix.KEYCTL_JOIN_SESSION_KEYRING), Num(0))
	s.seccomp(p) // needs a capability that goes next
	p.Step("capabilities")
	p.Call(unix.SYS_CAPSET, p.Bytes(words(unix.LINUX_CAPABILITY_VERSION_3, 0)), p.Bytes(words(
		uint32(keep), uint32(keep), 0, uint32(keep>>32), uint32(keep>>32), 0)))
	p.Try(unix.SYS_PRCTL, Num(unix.PR_CAP_AMBIENT), Num(unix.PR_CAP_AMBIENT_CLEAR_ALL))
	// The first process holds a copy of some of the supervisor's memory: nobody inside may look at it.
	p.Call(unix.SYS_PRCTL, Num(unix.PR_SET_DUMPABLE), Num(0))
}

func words(list ...uint32) []byte {
	var b []byte
	for _, w := range list {
		b = binary.NativeEndian.AppendUint32(b, w)
	}
	return b
}
