package boot

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// regionSize is how much of the address space a world's processes share with their supervisor. What is not written to costs nothing. The kernel
// takes arguments and variables of up to 6 MB, and they come over twice.
//
// Source: execve(2), "Limits on size of arguments and environment".
const regionSize = 32 << 20

// The stack holds the frames of interpret and what it calls, none of which can grow. The thread-local storage
// is only looked at: the way from assembly to Go reads there, below the address that clone3(2) takes, which goroutine runs, and none does.
const (
	stackSize = 16 << 10
	tlsSize   = 64
)

// Region is the beginning of the memory in which a world's processes live: what they need from their first moment. The parts that come later
// lie behind it. The supervisor has the same addresses for its own copy.
type Region struct {
	stacks [2][stackSize]byte // first, because they must be aligned
	tls    [tlsSize]byte
	state  [2]state // of the first process, and of the second
	pidFD  int64
	ops    [24]Op // the first part
}

// pageSize is what the place of a part is aligned to, which need not be that of the machine.
const pageSize = 4096

// partsAt is where parts begin.
const partsAt = (unsafe.Sizeof(Region{}) + pageSize - 1) &^ (pageSize - 1)

// reserve maps a region.
func reserve() (*Region, error) {
	p, err := unix.MmapPtr(-1, 0, nil, regionSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("reserve memory for the init process: %w", err)
	}
	return (*Region)(p), nil
}

// bytes is the whole region.
func (r *Region) bytes() []byte { return unsafe.Slice((*byte)(unsafe.Pointer(r)), regionSize) }

// release gives the supervisor's copy back.
func (r *Region) release() { _ = unix.MunmapPtr(unsafe.Pointer(r), regionSize) }
