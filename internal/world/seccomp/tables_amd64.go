package seccomp

import "golang.org/x/sys/unix"

// tables are the system call tables that the kernel has on this architecture. The numbers of i386
// are those of arch/x86/entry/syscalls/syscall_32.tbl. Its socketcall(2) hides the family from a
// filter.
var tables = []table{
	{
		arch: unix.AUDIT_ARCH_X86_64, clone: unix.SYS_CLONE, clone3: unix.SYS_CLONE3, unshare: unix.SYS_UNSHARE,
		socket: unix.SYS_SOCKET, keyctl: unix.SYS_KEYCTL, addKey: unix.SYS_ADD_KEY, requestKey: unix.SYS_REQUEST_KEY,
	},
	{arch: unix.AUDIT_ARCH_I386, clone: 120, clone3: 435, unshare: 310, socket: 359, keyctl: 288, addKey: 286, requestKey: 287},
}
