package doctor

import (
	"strconv"
	"strings"

	"substrate/internal/world/landlock"
)

// askSecurity checks the security modules.
func askSecurity(Host) finding {
	selinux, apparmor := selinuxState(), appArmorState()
	abi, landlockErr := landlock.Version()
	rows := []Row{
		{"selinux", Pass, selinux, ""},
		{"apparmor", Pass, apparmor, ""},
		{"landlock", Pass, "ABI " + strconv.Itoa(abi), ""},
	}
	if selinux == "enforcing" {
		rows[0].Detail += "; if worlds fail with EACCES look at ausearch -m avc"
	}
	if profile := appArmorProfile(); profile != "" {
		rows[1].Detail += ", this process is under the profile " + profile
		if profile != "unconfined" {
			rows[1].Status, rows[1].Fix = Warn, "run the container with --security-opt apparmor=unconfined if worlds cannot mount"
		}
	}
	if landlockErr != nil {
		rows[2] = Row{"landlock", Warn, "unavailable: copy-diff without namespaces could not keep a command from writing elsewhere", "boot with lsm=landlock,… (Linux 5.13)"}
	}
	return finding{rows: rows, set: func(r *Report) {
		r.SELinux, r.AppArmor, r.LandlockABI = selinux, apparmor, abi
	}}
}

// selinuxState is enforcing, permissive, disabled, or disabled-in-container if the host has SELinux
// and hides it.
//
// Source: selinux(8); selinuxfs.
func selinuxState() string {
	switch readLine("/sys/fs/selinux/enforce") {
	case "1":
		return "enforcing"
	case "0":
		return "permissive"
	}
	if strings.Contains(readLine("/proc/filesystems"), "selinuxfs") && containerKind() != "" {
		return "disabled-in-container"
	}
	return "disabled"
}

// appArmorState is enabled, disabled or disabled-in-container.
//
// Source: apparmor(7); the module's parameter "enabled".
func appArmorState() string {
	switch readLine("/sys/module/apparmor/parameters/enabled") {
	case "Y":
		return "enabled"
	case "N", "":
		if containerKind() != "" && appArmorProfile() != "" {
			return "disabled-in-container"
		}
	}
	return "disabled"
}

// appArmorProfile is the profile of this process; "" without AppArmor. attr/current may be that of
// another security module.
func appArmorProfile() string {
	if profile := readLine("/proc/self/attr/apparmor/current"); profile != "" {
		return profile
	}
	if readLine("/sys/module/apparmor/parameters/enabled") == "Y" {
		return readLine("/proc/self/attr/current")
	}
	return ""
}
