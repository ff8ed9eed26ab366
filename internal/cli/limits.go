package cli

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"substrate/internal/world"
)

// limitFlags are the flags of a world's limits (CGR2).
type limitFlags struct {
	memory byteSize
	pids   int
	cpus   float64
}

// register adds the flags to a set.
func (l *limitFlags) register(fs *pflag.FlagSet) {
	fs.Var(&l.memory, "memory", "limit the memory of the world: 512M, 2G … (needs cgroup v2)")
	fs.IntVar(&l.pids, "pids", 0, "let at most `N` processes and threads run in the world at once")
	fs.Float64Var(&l.cpus, "cpus", 0, "limit the processor time of the world to `N` processors: 0.5, 2 …")
}

// minCPUs is the smallest share of a processor that the kernel accepts.
//
// Source: cgroup-v2.rst, cpu.max; kernel/sched/core.c, min_cfs_quota_period: 1 ms of 100.
const minCPUs = 0.01

// maxCPUs and maxPIDs exceed any machine, and the kernel can still count them.
const (
	maxCPUs = 1 << 20
	maxPIDs = 1 << 22
)

// check refuses limits that the kernel cannot set.
func (l *limitFlags) check() error {
	switch {
	case l.pids < 0 || l.pids > maxPIDs:
		return usagef("--pids %d: want a number from 1 to %d", l.pids, maxPIDs)
	case l.cpus != 0 && !(l.cpus >= minCPUs && l.cpus <= maxCPUs):
		return usagef("--cpus %v: want a number, %v or more", l.cpus, minCPUs)
	}
	return nil
}

// of returns the limits for a world.
func (l *limitFlags) of() world.Limits {
	return world.Limits{Memory: int64(l.memory), PIDs: l.pids, CPUs: l.cpus}
}

// byteSize is a flag that holds a number of bytes: 1048576, 1024K, 1M.
type byteSize int64

// units are the suffixes of a size, each 1024 times the one before.
const units = "KMGT"

// Set parses a size.
func (b *byteSize) Set(text string) error {
	number := strings.TrimSuffix(strings.TrimSuffix(strings.ToUpper(text), "B"), "I")
	shift := 0
	if n := len(number); n > 0 {
		if i := strings.IndexByte(units, number[n-1]); i >= 0 {
			number, shift = number[:n-1], 10*(i+1)
		}
	}
	n, err := strconv.ParseFloat(number, 64)
	size := n * math.Pow(2, float64(shift))
	if err != nil || !(size >= 1 && size < math.MaxInt64) {
		return fmt.Errorf("%q is not a size; write 512M, 1.5G …", text)
	}
	*b = byteSize(size)
	return nil
}

// String is the size in bytes; "" for none, so that the help shows no default.
func (b *byteSize) String() string {
	if *b == 0 {
		return ""
	}
	return strconv.FormatInt(int64(*b), 10)
}

// Type names the value in the help.
func (b *byteSize) Type() string { return "size" }

// waiting prints that a world has to wait for another to end (WLD10).
func (a *app) waiting(running int) {
	message(a.stderr, "waiting", fmt.Sprintf("%d worlds are running (SUBSTRATE_WORLD_MAX)", running))
}
