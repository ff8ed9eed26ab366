package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"substrate/internal/probe"
)

// cpuPeriod is the time in which a group may use up its share of the processors, in µs: the
// kernel's default.
const cpuPeriod = 100_000

// SetMemory limits the memory of the group, page cache included, to n bytes, and allows no swap.
// The error wraps [probe.ErrUnsupported] if the controller is off.
//
// The kernel kills the largest process, not the whole group, so the command can react.
//
// Source: cgroup-v2.rst, "Memory Interface Files".
func (g *Group) SetMemory(n int64) error {
	if err := g.set("memory", "memory.max", strconv.FormatInt(n, 10)); err != nil {
		return err
	}
	err := g.set("memory", "memory.swap.max", "0")
	if errors.Is(err, unix.ENOENT) {
		return nil // a kernel that counts no swap
	}
	return err
}

// SetPIDs limits how many processes and threads the group has at once. The error is that of
// SetMemory.
//
// Source: cgroup-v2.rst, "PID Interface Files".
func (g *Group) SetPIDs(n int) error { return g.set("pids", "pids.max", strconv.Itoa(n)) }

// SetCPUs limits the group to n processors' worth of time; 0.5 is half of one. The error is that of
// SetMemory.
//
// Source: cgroup-v2.rst, "CPU Interface Files", cpu.max.
func (g *Group) SetCPUs(n float64) error {
	return g.set("cpu", "cpu.max", fmt.Sprintf("%d %d", int64(n*cpuPeriod), cpuPeriod))
}

// set writes one file of a controller. It first switches on a controller that is off because
// somebody else made the group above without it.
func (g *Group) set(controller, file, value string) error {
	if slices.Contains(g.Missing, controller) {
		parent := filepath.Dir(g.Path)
		enable(filepath.Dir(parent))
		enable(parent)
		if !hasWord(g.read("cgroup.controllers"), controller) {
			return &probe.Error{
				What:   "limit " + controller,
				Err:    errors.New("the cgroup has no such controller"),
				Remedy: "boot with systemd.unified_cgroup_hierarchy=1 to give the controllers to cgroup v2",
			}
		}
		g.Missing = slices.DeleteFunc(g.Missing, func(c string) bool { return c == controller })
	}
	if err := os.WriteFile(filepath.Join(g.Path, file), []byte(value), 0); err != nil {
		return fmt.Errorf("limit %s to %s: %w", controller, value, err)
	}
	return nil
}
