package boot

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// arena is how much of the address space the Go heap takes at once, and what its places are aligned to. It grows upwards.
//
// Source: Go runtime/malloc.go, heapArenaBytes for 64-bit Linux.
const arena = 64 << 20

// withoutHeap calls fork while children do not get the Go heap. Nothing else may fork meanwhile: the caller holds syscall.ForkLock.
// A heap of more than a gigabyte is copied beyond that.
//
// Source: madvise(2), MADV_DONTFORK.
func withoutHeap(fork func()) {
	var inHeap byte // where the stacks of goroutines are as well
	start := uintptr(unsafe.Pointer(&inHeap)) &^ (arena - 1)
	const size = 1 << 30
	advise := func(advice uintptr) {
		// ENOMEM says that part of it is not mapped, which does not matter.
		_, _, _ = unix.RawSyscall(unix.SYS_MADVISE, start, size, advice)
	}
	advise(unix.MADV_DONTFORK)
	fork()
	advise(unix.MADV_DOFORK)
}
