package doctor

import (
	"fmt"

	"golang.org/x/sys/unix"

	"substrate/internal/world/state"
)

// askPlaces finds the directories where worlds keep their state and files, and why there (WLD7).
func askPlaces(h Host) finding {
	run, runDir := placeRow("state of worlds", state.RunPlaces(h.Dirs))
	upper, upperDir := placeRow("uppers", state.UpperPlaces(h.Dirs, h.Root))
	copies, copyDir := placeRow("copies", state.CopyPlaces(h.Dirs))
	if runDir == "" {
		run.Status, run.Fix = Fail, "set XDG_RUNTIME_DIR to a directory of yours"
	}
	if upperDir == "" {
		upper.Detail = "no disk can hold them; kept in memory: " + upper.Detail
		upper.Fix = "set SUBSTRATE_OVERLAY_ROOT to a directory on ext4, xfs or btrfs; in a container, mount a volume there"
	}
	if copyDir == "" {
		copies.Fix = "set SUBSTRATE_OVERLAY_ROOT to a directory that you can write"
	}
	return finding{rows: []Row{run, upper, copies}, set: func(r *Report) {
		r.RunRoot, r.OverlayRoot, r.CopydiffRoot = runDir, upperDir, copyDir
	}}
}

// tight is the free space, in bytes, below which there is a warning.
const tight = 256 << 20

// placeRow describes the place that is used, and why those before it cannot be. Only the last of
// places can be used, if any.
func placeRow(name string, places []state.Place) (Row, string) {
	row := Row{Name: name, Status: Warn}
	dir, reasons := "", ""
	for _, p := range places {
		if p.Err == nil {
			dir = p.Dir
			continue
		}
		reasons += "; not " + p.Dir + ", because " + p.Err.Error()
	}
	if dir == "" {
		row.Detail = "no usable directory" + reasons
		return row, ""
	}
	row.Status = Pass
	fs, free, err := space(dir)
	if err != nil {
		row.Detail = dir + " (" + err.Error() + ")" + reasons
		return row, dir
	}
	row.Detail = fmt.Sprintf("%s (%s, %s free)%s", dir, fs, size(free), reasons)
	if free < tight {
		row.Status, row.Fix = Warn, "make room there, or set SUBSTRATE_OVERLAY_ROOT"
	}
	return row, dir
}

// fileSystems are the names of usual file systems.
//
// Source: statfs(2).
var fileSystems = map[int64]string{
	unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs", unix.TMPFS_MAGIC: "tmpfs",
	unix.OVERLAYFS_SUPER_MAGIC: "overlay", unix.F2FS_SUPER_MAGIC: "f2fs", unix.NFS_SUPER_MAGIC: "nfs", unix.FUSE_SUPER_MAGIC: "fuse",
	0x2fc12fc1: "zfs", 0xca451a4e: "bcachefs",
}

// space returns the file system of a directory and how many bytes the caller can still write.
func space(dir string) (name string, free int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return "", 0, fmt.Errorf("ask for its free space: %w", err)
	}
	name = fileSystems[int64(st.Type)]
	if name == "" {
		name = fmt.Sprintf("file system 0x%x", st.Type)
	}
	return name, int64(st.Bavail) * st.Bsize, nil
}

// size is a number of bytes with a unit.
func size(n int64) string {
	const kib = 1 << 10
	for _, unit := range []string{"KiB", "MiB", "GiB"} {
		n /= kib
		if n < 10*kib {
			return fmt.Sprintf("%d %s", n, unit)
		}
	}
	return fmt.Sprintf("%d TiB", n/kib)
}
