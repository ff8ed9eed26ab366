// Package seccomp is the filter of system calls that holds in every world. It closes the ways out
// that neither namespaces nor capabilities close.
package seccomp

import "golang.org/x/sys/unix"

// refusal is one rule of the filter: a system call that gives errno, always or if its first
// argument matches.
type refusal struct {
	nr    uint32
	mask  uint32 // 0 for always; else refused if the first argument has one of these bits,
	equal bool   // or, with equal, if it is mask
	errno unix.Errno
}

// table is the system calls of one architecture that a world refuses.
type table struct {
	arch                                                       uint32
	clone, clone3, unshare, socket, keyctl, addKey, requestKey uint32
}

// refusals are the rules for one architecture. A cgroup namespace of its own, which a user
// namespace may make, could mount the hierarchies of version 1 and freeze the host. clone3(2) hides
// its flags from a filter, so it does not exist, and libraries take clone(2). Keyrings belong to
// the user and not to any namespace. Neither does vsock, which leads to the hypervisor.
//
// Source: seccomp(2); cgroup_namespaces(7); keyrings(7); vsock(7).
func (t table) refusals() []refusal {
	return []refusal{
		{nr: t.clone, mask: unix.CLONE_NEWCGROUP, errno: unix.EPERM},
		{nr: t.unshare, mask: unix.CLONE_NEWCGROUP, errno: unix.EPERM},
		{nr: t.clone3, errno: unix.ENOSYS},
		{nr: t.keyctl, errno: unix.ENOSYS},
		{nr: t.addKey, errno: unix.ENOSYS},
		{nr: t.requestKey, errno: unix.ENOSYS},
		{nr: t.socket, mask: unix.AF_VSOCK, equal: true, errno: unix.EAFNOSUPPORT},
	}
}

// Offsets in struct seccomp_data. The low half of the first argument comes first on all our
// architectures.
const (
	dataNr   = 0
	dataArch = 4
	dataArg0 = 16
)

// retNoSys is the action for architectures without a table.
const retNoSys = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)

// Filter is the program for the architectures that the kernel runs on this machine.
func Filter() []unix.SockFilter { return filter(tables) }

// filter is the program for the given tables.
func filter(tables []table) []unix.SockFilter {
	var f []unix.SockFilter
	stmt := func(code uint16, k uint32) { f = append(f, unix.SockFilter{Code: code, K: k}) }
	jump := func(code uint16, k uint32, yes, no uint8) {
		f = append(f, unix.SockFilter{Code: code, Jt: yes, Jf: no, K: k})
	}
	const load, equal, atLeast, anyBit, ret = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K,
		unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, unix.BPF_RET | unix.BPF_K
	for _, t := range tables {
		stmt(load, dataArch)
		start := len(f)
		jump(equal, t.arch, 0, 0) // the way to the next table is filled in below
		stmt(load, dataNr)
		if t.arch == unix.AUDIT_ARCH_X86_64 {
			jump(atLeast, x32Bit, 0, 1) // x32 has other numbers for the same calls
			stmt(ret, retNoSys)
		}
		for _, r := range t.refusals() {
			action := unix.SECCOMP_RET_ERRNO | uint32(r.errno)
			switch {
			case r.mask == 0:
				jump(equal, r.nr, 0, 1)
			case r.equal:
				jump(equal, r.nr, 0, 4)
				stmt(load, dataArg0)
				jump(equal, r.mask, 0, 1)
			default:
				jump(equal, r.nr, 0, 4)
				stmt(load, dataArg0)
				jump(anyBit, r.mask, 0, 1)
			}
			stmt(ret, action)
			if r.mask != 0 {
				stmt(load, dataNr)
			}
		}
		stmt(ret, unix.SECCOMP_RET_ALLOW)
		f[start].Jf = uint8(len(f) - start - 1)
	}
	stmt(ret, retNoSys)
	return f
}

// x32Bit marks the system calls of the x32 ABI.
const x32Bit = 0x40000000
