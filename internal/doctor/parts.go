package doctor

import (
	"context"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"substrate/internal/probe"
	"substrate/internal/world/cgroup"
)

// askUserns tries to make a user namespace. Root's worlds need none.
func askUserns(h Host) finding {
	c := probe.TryUserns()
	row := Row{Name: "userns", Status: Pass, Detail: "user namespaces work"}
	state := "enabled"
	setting, remedy := probe.UsernsSetting()
	switch {
	case !c.OK && h.Root:
		state = "disabled"
		row = Row{"userns", Warn, c.Reason + "; root's worlds need none", c.Remedy}
	case !c.OK:
		state = "disabled"
		if strings.HasPrefix(c.Reason, probe.UsernsWithoutRights) {
			state = "restricted"
		}
		row = Row{"userns", Fail, c.Reason, c.Remedy}
	case h.Root && setting != "":
		state = "root-only"
		row = Row{"userns", Warn, "worlds of ordinary users are unavailable: " + setting, remedy}
	}
	return finding{rows: []Row{row}, set: func(r *Report) { r.Userns = state }}
}

// askFuse looks at the device, and at the program that is the one optional helper (WLD12).
func askFuse(Host) finding {
	f := Fuse{Device: fuseDevice()}
	row := Row{"/dev/fuse", Pass, "can be opened", ""}
	if f.Device != "ok" {
		row = Row{"/dev/fuse", Warn, f.Device, fuseDeviceFix(f.Device)}
	}
	program := Row{"fuse-overlayfs", Warn, "not installed", install("fuse-overlayfs fuse3")}
	if path, said := programVersion("fuse-overlayfs"); path != "" {
		f.Program, f.Version = path, wordAfter(said, "fuse-overlayfs: version ")
		program = Row{"fuse-overlayfs", Pass, path + " " + f.Version, ""}
	}
	return finding{rows: []Row{row, program}, set: func(r *Report) {
		mountOK := r.Fuse.MountOK
		r.Fuse = f
		r.Fuse.MountOK = mountOK
	}}
}

// fuseDevice is "ok", or what is wrong with /dev/fuse.
func fuseDevice() string {
	const path = "/dev/fuse"
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return "missing"
	}
	if st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != unix.Mkdev(10, 229) {
		return "is not the character device 10, 229"
	}
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return "cannot be opened: " + err.Error()
	}
	_ = unix.Close(fd)
	return "ok"
}

func fuseDeviceFix(what string) string {
	if strings.HasPrefix(what, "cannot be opened") {
		return "chmod 666 /dev/fuse"
	}
	return "modprobe fuse; in a container: run it with --device /dev/fuse"
}

// programTime bounds a program that only has to tell its version.
const programTime = 10 * time.Second

// programVersion finds a program, on PATH or where root's programs are, and returns what it says of its version; "" without it.
func programVersion(name string) (path, said string) {
	path, err := exec.LookPath(name)
	for _, dir := range []string{"/usr/sbin/", "/sbin/", "/usr/local/bin/"} {
		if err == nil {
			break
		}
		path, err = exec.LookPath(dir + name)
	}
	if err != nil {
		return "", ""
	}
	ctx, cancel := context.WithTimeout(context.Background(), programTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--version")
	cmd.WaitDelay = programTime
	out, err := cmd.CombinedOutput()
	if err != nil {
		return path, ""
	}
	return path, string(out)
}

// wordAfter is the word that follows mark in what a program said; "" if mark is not there.
func wordAfter(said, mark string) string {
	_, rest, _ := strings.Cut(said, mark)
	words := strings.Fields(rest)
	if len(words) == 0 {
		return ""
	}
	return strings.TrimPrefix(words[0], "v")
}

// askNft looks for the program nft, which people use to look at rules. Worlds do without.
func askNft(Host) finding {
	n := Nft{}
	row := Row{"nft program", Pass, "not installed; worlds do not need it, you need it to look at their rules: " + install("nftables"), ""}
	if path, said := programVersion("nft"); path != "" {
		n.Present, n.Version = true, wordAfter(said, "nftables ")
		row.Detail = path + " " + n.Version
	}
	return finding{rows: []Row{row}, set: func(r *Report) {
		kernel := r.Nft.Kernel
		r.Nft = n
		r.Nft.Kernel = kernel
	}}
}

// askCgroup says where cgroup v2 is and whether groups can be made there. What a group has is seen in a world.
func askCgroup(h Host) finding {
	c := Cgroup{Missing: []string{}}
	mount, err := cgroup.Mount()
	if err != nil {
		return finding{rows: []Row{{"cgroup v2", Warn, err.Error(), remedyOf(err)}}, set: func(r *Report) { r.Cgroup.Mount = "" }}
	}
	c.Mount = mount
	row := Row{"cgroup v2", Pass, "mounted at " + mount, ""}
	if c.Parent, err = cgroup.Parent(h.Root); err != nil {
		c.Parent = ""
		row = Row{"cgroup v2", Warn, "mounted at " + mount + "; " + err.Error(), remedyOf(err)}
	}
	return finding{rows: []Row{row}, set: func(r *Report) {
		missing := r.Cgroup.Missing
		r.CgroupV2, r.Cgroup = true, c
		r.Cgroup.Missing = missing
	}}
}
