package probe

import (
	"errors"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Userns is the name of the check of [TryUserns].
const Userns = "userns"

// UsernsWithoutRights begins the reason of [TryUserns] if the kernel makes a namespace but gives
// its owner no capabilities in it.
const UsernsWithoutRights = "one is made, but it gives no rights"

// TryUserns makes a user namespace that maps the caller to the same uid, and in it a mount
// namespace, as a user's world does. It executes no program.
//
// Source: user_namespaces(7).
func TryUserns() Check {
	// First without mapping ids: with it package syscall leaks descriptors if the clone fails (Go
	// 1.26).
	if err := spawn(&syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}); err != nil {
		return refusedUserns("the kernel refuses them", err)
	}
	err := spawn(&syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER, Unshareflags: unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}},
	})
	if err != nil {
		return refusedUserns(UsernsWithoutRights, err)
	}
	return Check{Name: Userns, OK: true}
}

// refusedUserns explains why no user namespace can be made.
func refusedUserns(what string, err error) Check {
	cause, remedy := UsernsRefusal()
	reason := what + " (" + err.Error() + ")"
	if cause != "" {
		reason += ": " + cause
	}
	return Check{Name: Userns, Reason: reason, Remedy: remedy}
}

// nowhere is the path of no program.
const nowhere = "/proc/self/substrate-nowhere"

// spawn starts a child in the namespaces of attr that tries to execute a program that does not
// exist. That is its last step, so ENOENT means that all others succeeded.
func spawn(attr *syscall.SysProcAttr) error {
	_, err := syscall.ForkExec(nowhere, []string{nowhere}, &syscall.ProcAttr{Sys: attr})
	if errors.Is(err, syscall.ENOENT) {
		return nil
	}
	return err
}

// usernsSettings are the kernel's settings that keep users from making namespaces. allows is the
// value that permits it; "" means any but 0.
//
// Source: user_namespaces(7), /proc/sys/user; Debian's and Ubuntu's kernels for the other two.
var usernsSettings = []struct{ path, name, allows, cause, remedy string }{
	{
		"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "kernel.apparmor_restrict_unprivileged_userns", "0",
		"AppArmor gives no rights in a user's namespaces", "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for substrate that allows userns",
	},
	{"/proc/sys/kernel/unprivileged_userns_clone", "kernel.unprivileged_userns_clone", "1", "they are for root only", "sysctl -w kernel.unprivileged_userns_clone=1"},
	{"/proc/sys/user/max_user_namespaces", "user.max_user_namespaces", "", "none may be made", "sysctl -w user.max_user_namespaces=15000"},
}

// UsernsRefusal returns why ordinary users of this host cannot make user namespaces, and the
// remedy. The cause is "" if it is unknown.
func UsernsRefusal() (cause, remedy string) {
	if cause, remedy = UsernsSetting(); cause != "" {
		return cause, remedy
	}
	if os.Geteuid() == 0 && !mayMapRoot() {
		return "uid 0 cannot map itself without CAP_SETFCAP (Linux 5.12)", "run as an ordinary user, or the container with --cap-add SETFCAP"
	}
	if filtered() {
		return "a seccomp filter is in force here, as in containers", "run the container with --security-opt seccomp=unconfined, or run substrate outside of it"
	}
	return "", "allow user namespaces (a container's seccomp profile may refuse them), or run as root"
}

// UsernsSetting returns the setting of the kernel that keeps ordinary users from making user
// namespaces, and the remedy; "" if no setting does.
func UsernsSetting() (cause, remedy string) {
	return usernsSetting(func(path string) (string, bool) {
		text, err := os.ReadFile(path)
		return strings.TrimSpace(string(text)), err == nil
	})
}

// usernsSetting is UsernsSetting with a function that reads settings.
func usernsSetting(read func(path string) (string, bool)) (cause, remedy string) {
	for _, s := range usernsSettings {
		value, known := read(s.path)
		if known && (s.allows == "" && value == "0" || s.allows != "" && value != s.allows) {
			return s.name + "=" + value + ": " + s.cause, s.remedy
		}
	}
	return "", ""
}

// mayMapRoot reports whether the caller has CAP_SETFCAP.
//
// Source: user_namespaces(7), "Defining user and group ID mappings"; capget(2).
func mayMapRoot() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	err := unix.Capget(&header, &data[0])
	return err != nil || data[0].Effective&(1<<unix.CAP_SETFCAP) != 0
}

// filtered reports whether a seccomp filter applies to this process.
//
// Source: proc_pid_status(5), Seccomp.
func filtered() bool {
	text, err := os.ReadFile("/proc/self/status")
	return err == nil && strings.Contains(string(text), "\nSeccomp:\t2\n")
}
