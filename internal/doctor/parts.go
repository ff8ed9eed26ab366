package doctor

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"time"

	"substrate/internal/probe"
	"substrate/internal/world/cgroup"
	"substrate/internal/world/view"
)

// askUserns tries to make a user namespace. The worlds of root need none.
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

// askFuse checks the device and the program, which is the only optional helper (WLD12).
func askFuse(Host) finding {
	f := Fuse{Device: fuseDevice()}
	row := Row{"/dev/fuse", Pass, "can be opened", ""}
	if f.Device != "ok" {
		row = Row{"/dev/fuse", Warn, f.Device, fuseDeviceFix(f.Device)}
	}
	program := Row{"fuse-overlayfs", Warn, "not installed", install("fuse-overlayfs fuse3")}
	if path, err := view.FuseProgram(); err == nil {
		f.Program, f.Version = path, wordAfter(version(path), "fuse-overlayfs: version ")
		program = Row{"fuse-overlayfs", Pass, path + " " + f.Version, ""}
	}
	return finding{rows: []Row{row, program}, set: func(r *Report) {
		r.Fuse.Device, r.Fuse.Program, r.Fuse.Version = f.Device, f.Program, f.Version
	}}
}

// fuseDevice is "ok", or what is wrong with /dev/fuse.
func fuseDevice() string {
	err := view.FuseDevice()
	var failed *os.PathError
	switch {
	case err == nil:
		return "ok"
	case !errors.As(err, &failed):
		return "is not the character device 10, 229"
	case failed.Op == "open":
		return "cannot be opened: " + failed.Err.Error()
	}
	return "missing"
}

func fuseDeviceFix(what string) string {
	if strings.HasPrefix(what, "cannot be opened") {
		return "chmod 666 /dev/fuse"
	}
	return "modprobe fuse; in a container: run it with --device /dev/fuse"
}

// programTime bounds a program that prints its version.
const programTime = 10 * time.Second

// version is the output of the program at path for --version; "" if it fails.
func version(path string) string {
	ctx, cancel := context.WithTimeout(context.Background(), programTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--version")
	cmd.WaitDelay = programTime
	out, err := cmd.CombinedOutput()
	if err != nil {
		return ""
	}
	return string(out)
}

// wordAfter is the word after mark in the output of a program; "" if mark is not there.
func wordAfter(said, mark string) string {
	_, rest, _ := strings.Cut(said, mark)
	words := strings.Fields(rest)
	if len(words) == 0 {
		return ""
	}
	return strings.TrimPrefix(words[0], "v")
}

// askNft looks for the program nft, with which people look at rules. Worlds do not need it.
func askNft(Host) finding {
	n := Nft{}
	row := Row{"nft program", Pass, "not installed; worlds do not need it, you need it to look at their rules: " + install("nftables"), ""}
	for _, name := range []string{"nft", "/usr/sbin/nft", "/sbin/nft", "/usr/local/bin/nft"} { // root's PATH may be elsewhere
		if path, err := exec.LookPath(name); err == nil {
			n.Present, n.Version = true, wordAfter(version(path), "nftables ")
			row.Detail = path + " " + n.Version
			break
		}
	}
	return finding{rows: []Row{row}, set: func(r *Report) { r.Nft.Present, r.Nft.Version = n.Present, n.Version }}
}

// askCgroup finds cgroup v2, and whether groups can be made there. Their controllers are seen in a
// world, by [askStrategies].
func askCgroup(h Host) finding {
	mount, err := cgroup.Mount()
	if err != nil {
		return finding{rows: []Row{{"cgroup v2", Warn, err.Error(), remedyOf(err)}}}
	}
	row := Row{"cgroup v2", Pass, "mounted at " + mount, ""}
	parent, err := cgroup.Parent(h.Root)
	if err != nil {
		parent = ""
		row = Row{"cgroup v2", Warn, "mounted at " + mount + "; " + err.Error(), remedyOf(err)}
	}
	return finding{rows: []Row{row}, set: func(r *Report) {
		r.CgroupV2, r.Cgroup.Mount, r.Cgroup.Parent = true, mount, parent
	}}
}
