package doctor

import (
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"substrate/internal/world/net/netns"
)

// readLine is the content of a small file of the kernel; "" if there is none.
func readLine(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(strings.TrimRight(string(text), "\x00\n"))
}

// readNumber is the number in a small file of the kernel; -1 if there is none.
func readNumber(path string) int {
	n, err := strconv.Atoi(readLine(path))
	if err != nil {
		return -1
	}
	return n
}

// exists reports whether path exists.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// askKernel names kernel, distribution and container.
func askKernel(Host) finding {
	var u unix.Utsname
	kernel := "unknown"
	if unix.Uname(&u) == nil {
		kernel = unix.ByteSliceToString(u.Release[:])
	}
	release := osRelease()
	distro := release["PRETTY_NAME"]
	if distro == "" {
		distro = "unknown"
	}
	container := containerKind()
	inside := "in no known container"
	if container != "" {
		inside = "in a container (" + container + ")"
	}
	return finding{
		rows: []Row{
			{"kernel", Pass, "Linux " + kernel + " (" + runtime.GOARCH + ")", ""},
			{"distribution", Pass, distro + ", " + inside, ""},
		},
		set: func(r *Report) {
			r.Kernel, r.Arch, r.Distro, r.Container, r.UID = kernel, runtime.GOARCH, distro, container, os.Geteuid()
		},
	}
}

// osRelease reads the description of the distribution.
//
// Source: os-release(5).
func osRelease() map[string]string {
	values := map[string]string{}
	for _, path := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
				values[name] = strings.Trim(value, `"'`)
			}
		}
		break
	}
	return values
}

// containerKind is the kind of container that this process is in; "" if none is known.
//
// Source: systemd-detect-virt(1); podman and docker leave the files.
func containerKind() string {
	switch {
	case exists("/run/.containerenv"):
		return "podman"
	case exists("/.dockerenv"):
		return "docker"
	}
	if kind := readLine("/run/systemd/container"); kind != "" {
		return kind
	}
	return os.Getenv("container")
}

// installers are the commands that install packages, by ID or ID_LIKE of os-release.
var installers = []struct{ id, command string }{
	{"debian", "apt-get install -y"},
	{"ubuntu", "apt-get install -y"},
	{"fedora", "dnf install -y"},
	{"rhel", "dnf install -y"},
	{"arch", "pacman -S --needed"},
	{"suse", "zypper install -y"},
	{"alpine", "apk add"},
}

// install is the command of this distribution that installs packages.
func install(packages string) string {
	release := osRelease()
	ids := strings.Fields(release["ID"] + " " + release["ID_LIKE"])
	for _, known := range installers {
		for _, id := range ids {
			if strings.HasPrefix(id, known.id) {
				return known.command + " " + packages
			}
		}
	}
	return "install " + packages
}

// capabilityNames are the names of the capabilities by their numbers.
//
// Source: capabilities(7); linux/capability.h.
var capabilityNames = strings.Fields(`chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap
linux_immutable net_bind_service net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot
sys_ptrace sys_pacct sys_admin sys_boot sys_nice sys_resource sys_time sys_tty_config mknod lease audit_write
audit_control setfcap mac_override mac_admin syslog wake_alarm block_suspend audit_read perfmon bpf checkpoint_restore`)

// effective lists the caller's capabilities.
//
// Source: proc_pid_status(5), CapEff.
func effective() []string {
	names := []string{}
	for line := range strings.Lines(string(readLine("/proc/self/status"))) {
		hex, ok := strings.CutPrefix(line, "CapEff:")
		if !ok {
			continue
		}
		set, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
		for n := 0; err == nil && n < 64; n++ {
			switch {
			case set&(1<<n) == 0:
			case n < len(capabilityNames):
				names = append(names, "cap_"+capabilityNames[n])
			default:
				names = append(names, "cap_"+strconv.Itoa(n))
			}
		}
	}
	return names
}

// askCapabilities reports whether package world takes the caller for root.
func askCapabilities(h Host) finding {
	names := effective()
	row := Row{Name: "capabilities", Status: Pass}
	uid := os.Geteuid()
	switch {
	case h.Root:
		row.Detail = "root, with " + strconv.Itoa(len(names)) + " capabilities"
	case uid == 0 && slices.Contains(names, "cap_sys_admin"):
		row.Detail = "root of a user namespace, as in a rootless container; worlds are those of an ordinary user"
	case uid == 0:
		row.Status = Warn
		row.Detail = "uid 0 without CAP_SYS_ADMIN and CAP_NET_ADMIN, which is treated as an ordinary user"
		row.Fix = "run the container with --privileged"
	default:
		row.Detail = "uid " + strconv.Itoa(uid) + ", an ordinary user, with " + strconv.Itoa(len(names)) + " capabilities"
	}
	return finding{rows: []Row{row}, set: func(r *Report) { r.Capabilities = names }}
}

// askKernelLog reports whether the LOG lines of a world can be read (NET3). Reports do not need
// them.
func askKernelLog(Host) finding {
	restrict := readNumber("/proc/sys/kernel/dmesg_restrict")
	all := readNumber("/proc/sys/net/netfilter/nf_log_all_netns")
	rows := []Row{
		{"kernel log", Pass, "everyone can read it: dmesg, journalctl -k", ""},
		{"LOG lines", Pass, "rules of worlds write lines substrate-dropped-NAME to the kernel log", ""},
	}
	if restrict != 0 {
		rows[0] = Row{"kernel log", Warn, "kernel.dmesg_restrict=" + strconv.Itoa(restrict) + ": users cannot read LOG lines; reports do not need them", "sysctl -w kernel.dmesg_restrict=0"}
	}
	switch {
	case all < 0:
		rows[1] = Row{"LOG lines", Warn, "net.netfilter.nf_log_all_netns is missing or hidden here: worlds log nothing to the kernel log; reports do not need them", "modprobe nf_log_syslog, as root of the host"}
	case all == 0:
		rows[1] = Row{"LOG lines", Warn, "net.netfilter.nf_log_all_netns=0: worlds log nothing to the kernel log; reports do not need them", "sysctl -w net.netfilter.nf_log_all_netns=1, as root of the host"}
	}
	return finding{rows: rows, set: func(r *Report) { r.DmesgRestrict, r.NfLogAllNetns = restrict, all }}
}

// askIPv6 reports whether worlds have IPv6.
func askIPv6(Host) finding {
	on := netns.V6Enabled()
	row := Row{"ipv6", Pass, "enabled", ""}
	if !on {
		row = Row{"ipv6", Pass, "disabled on this host", ""}
	}
	return finding{rows: []Row{row}, set: func(r *Report) { r.IPv6 = on }}
}
