package boot

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"

	"substrate/internal/world/ops"
	"substrate/internal/world/seccomp"
)

// rootKeeps are the capabilities that a root's command keeps in a world. The others could reach the
// host through the world: SYS_ADMIN, NET_ADMIN, SYS_MODULE, SYS_RAWIO, SYS_BOOT, SYS_TIME, MKNOD,
// SYS_PTRACE and, less known, DAC_READ_SEARCH, with which open_by_handle_at(2) opens any file of a
// file system past the overlay, and LINUX_IMMUTABLE, whose mark keeps an upper file from being
// removed.
//
// Source: capabilities(7).
var rootKeeps = []uint{
	unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER, unix.CAP_FSETID, unix.CAP_KILL,
	unix.CAP_SETGID, unix.CAP_SETUID, unix.CAP_SETPCAP, unix.CAP_NET_BIND_SERVICE, unix.CAP_NET_RAW,
	unix.CAP_IPC_LOCK, unix.CAP_IPC_OWNER, unix.CAP_SYS_CHROOT, unix.CAP_SETFCAP, unix.CAP_AUDIT_WRITE,
	unix.CAP_LEASE,
}

// keptBy returns the capabilities that a command keeps; a user's keeps none.
func keptBy(user bool) (keep uint64) {
	if !user {
		for _, c := range rootKeeps {
			keep |= 1 << c
		}
	}
	return keep
}

// limitPrivileges takes from the command process, and so from the command, the ways to privileges
// that could reach out of the world. The process keeps the capabilities with which it builds the
// file view.
func limitPrivileges(p *ops.Program, user bool) {
	p.Step("capabilities")
	if user {
		p.Call(unix.SYS_PRCTL, ops.Num(unix.PR_SET_NO_NEW_PRIVS), ops.Num(1))
	}
	installFilter(p) // needs a capability that goes with the rest
}

// dropCapabilities takes the capabilities themselves.
func dropCapabilities(p *ops.Program, user bool) {
	p.Step("capabilities")
	setCapabilities(p, keptBy(user))
	p.Try(unix.SYS_PRCTL, ops.Num(unix.PR_CAP_AMBIENT), ops.Num(unix.PR_CAP_AMBIENT_CLEAR_ALL))
}

// setCapabilities leaves the process those capabilities and no others. None is inheritable, so none
// stays ambient.
func setCapabilities(p *ops.Program, keep uint64) {
	p.Call(unix.SYS_CAPSET, p.Data(words(unix.LINUX_CAPABILITY_VERSION_3, 0)), p.Data(words(
		uint32(keep), uint32(keep), 0, uint32(keep>>32), uint32(keep>>32), 0)))
}

// installFilter needs no_new_privs or CAP_SYS_ADMIN. A kernel without seccomp is reported as a
// degradation.
func installFilter(p *ops.Program) {
	p.Step("seccomp")
	code := seccomp.Filter()
	list := p.Data(unsafe.Slice((*byte)(unsafe.Pointer(&code[0])), len(code)*int(unsafe.Sizeof(code[0]))))
	prog := p.Words(ops.Num(len(code)), list) // struct sock_fprog
	p.Alternative(func() {
		p.Call(unix.SYS_PRCTL, ops.Num(unix.PR_SET_SECCOMP), ops.Num(unix.SECCOMP_MODE_FILTER), prog)
	}, func() { p.Add(ops.ReportDegrade) })
}

func words(list ...uint32) []byte {
	var b []byte
	for _, w := range list {
		b = binary.NativeEndian.AppendUint32(b, w)
	}
	return b
}
