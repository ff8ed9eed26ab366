package worldinit

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// memory is everything that the child reads and writes: the ops and what they point to, its stack. It lies in mappings of
// its own, so that the child can be forked without the Go heap, whose page tables would cost more to copy than all
// else that a fork does, and whose content is none of the world's business.
type memory struct {
	chunks [][]byte
	free   []byte // what is left of the last chunk
	err    error  // why a chunk could not be had; what was handed out since then is of no use to a child
}

// chunkSize is enough for a usual world in one piece.
const chunkSize = 128 << 10

// align is what every piece of memory is aligned to; the stack pointer wants it.
const align = 16

// bytes returns n zeroed bytes. It never fails: see memory.err.
func (m *memory) bytes(n int) []byte {
	room := (n + align - 1) &^ (align - 1)
	if room > len(m.free) {
		size := (max(room, chunkSize) + unix.Getpagesize() - 1) &^ (unix.Getpagesize() - 1)
		chunk, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
		if err != nil {
			m.err = fmt.Errorf("allocate memory for the first process: %w", err)
			return make([]byte, n)
		}
		m.chunks, m.free = append(m.chunks, chunk), chunk
	}
	b := m.free[:n:n]
	m.free = m.free[room:]
	return b
}

// place returns zeroed memory for a T, which must hold no pointers into the Go heap.
func place[T any](m *memory) *T {
	var zero T
	return (*T)(unsafe.Pointer(&m.bytes(int(unsafe.Sizeof(zero)))[0]))
}

// release gives the mappings back.
func (m *memory) release() {
	for _, chunk := range m.chunks {
		_ = unix.Munmap(chunk)
	}
	m.chunks, m.free = nil, nil
}

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
