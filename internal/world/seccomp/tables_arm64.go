package seccomp

import "golang.org/x/sys/unix"

// tables are the system call tables that the kernel has on this architecture. The numbers of 32-bit
// Arm are those of arch/arm/tools/syscall.tbl.
var tables = []table{
	{
		arch: unix.AUDIT_ARCH_AARCH64, clone: unix.SYS_CLONE, clone3: unix.SYS_CLONE3, unshare: unix.SYS_UNSHARE,
		socket: unix.SYS_SOCKET, keyctl: unix.SYS_KEYCTL, addKey: unix.SYS_ADD_KEY, requestKey: unix.SYS_REQUEST_KEY,
	},
	{arch: unix.AUDIT_ARCH_ARM, clone: 120, clone3: 435, unshare: 337, socket: 281, keyctl: 311, addKey: 309, requestKey: 310},
}
