package view

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"substrate/fsdiff"
	"substrate/internal/probe"
	"substrate/internal/world/mount"
	"substrate/internal/world/upper"
)

const (
	fuseDevice        = "/dev/fuse"
	fuseInstall       = "apt-get install -y fuse-overlayfs fuse3 (Debian, Ubuntu), dnf install -y fuse-overlayfs (Fedora), pacman -S --needed fuse-overlayfs (Arch)"
	fuseDeviceMissing = "modprobe fuse; for a container: --device /dev/fuse"
)

// checkFuse checks the device and the program.
func checkFuse(bool) []probe.Check {
	device := probe.Check{Name: "fuse_device", OK: true}
	if err := FuseDevice(); err != nil {
		device = probe.Check{Name: device.Name, Reason: err.Error(), Remedy: fuseDeviceMissing}
		if errors.Is(err, unix.EACCES) {
			device.Remedy = "chmod 0666 " + fuseDevice
		}
		return []probe.Check{device}
	}
	program := probe.Check{Name: "fuse_overlayfs", OK: true}
	if _, err := FuseProgram(); err != nil {
		program = probe.Check{Name: program.Name, Reason: fuseName + " is not installed", Remedy: fuseInstall}
	}
	return []probe.Check{device, program}
}

// FuseDevice returns why /dev/fuse cannot be used; nil if it can. In a container it may be missing,
// be a plain file, or be for root alone.
//
// Source: Linux Documentation/admin-guide/devices.txt, "10 char, 229 = /dev/fuse".
func FuseDevice() error {
	var st unix.Stat_t
	if err := unix.Stat(fuseDevice, &st); err != nil {
		return &os.PathError{Op: "stat", Path: fuseDevice, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFCHR || unix.Major(st.Rdev) != 10 || unix.Minor(st.Rdev) != 229 {
		return fmt.Errorf("%s is not the character device 10, 229", fuseDevice)
	}
	fd, err := unix.Open(fuseDevice, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: fuseDevice, Err: err}
	}
	return unix.Close(fd)
}

// prepareFuse plans fuse-overlayfs in the place of the kernel's overlay: the same plan, with a
// process behind each mount. It works where the kernel accepts no overlay: on old kernels for
// users, on too many overlays, with uppers on an overlay. It accepts any disk, because
// fuse-overlayfs has other forms of its marks.
//
// The mounts are the world's own, so the host never sees them. The processes belong to the
// supervisor and die with it. They are outside of the world's pid namespace, where the command can
// neither see nor stop them.
func prepareFuse(r *Request) (View, error) {
	for _, c := range checkFuse(r.Root) {
		if !c.OK {
			return nil, &probe.Error{What: "serve the files by " + fuseName, Err: errors.New(c.Reason), Remedy: c.Remedy}
		}
	}
	v := &fuseView{layered: layered{r: r, prefix: upper.FusePrefix, served: true}}
	if err := v.prepare(); err != nil {
		return nil, err
	}
	v.launcher = newLauncher(r.Root)
	useServers(v)
	v.note("names that begin with .wh. are reserved by %s: such files cannot be seen or made in the world", fuseName)
	return v, nil
}

// fuseView is a layered view whose overlays are served by processes.
type fuseView struct {
	layered
	fuses    []mount.Mount // the Fuse mounts of the list, in the same order
	servers  []*server
	launcher *launcher
}

// useServers replaces the overlays of the plan by Fuse mounts. A server has the rights of the
// caller, so it could not show a directory that the caller cannot list. Such a directory gets no
// mount: the world has an empty one with the same rights.
func useServers(v *fuseView) {
	// The kernel checks permissions as on other file systems, and everyone in the world may use the
	// mount.
	data := fmt.Sprintf("user_id=%d,group_id=%d,default_permissions,allow_other", os.Geteuid(), os.Getegid())
	v.mounts.List, v.mounts.Notes = nil, slices.Clone(v.plan.Notes)
	for _, m := range v.plan.Mounts {
		if m.Step == "overlay" {
			m.Step = Fuse
		}
		if m.Kind == mount.Overlay {
			if !may(m.Lower, unix.R_OK|unix.X_OK) {
				if may(m.Lower, unix.X_OK) {
					v.note("%s cannot be listed: its contents are not in the world", m.Target)
				}
				continue
			}
			m.Kind, m.Data, m.Else, m.MayVanish = mount.Fuse, data, nil, false
			v.fuses = append(v.fuses, m)
		}
		v.mounts.List = append(v.mounts.List, m)
	}
}

func (v *fuseView) note(format string, args ...any) {
	v.mounts.Notes = append(v.mounts.Notes, fmt.Sprintf(format, args...))
}

// may reports whether the caller has these rights to a directory.
func may(dir string, rights uint32) bool {
	return unix.Faccessat(unix.AT_FDCWD, dir, rights, unix.AT_EACCESS) == nil
}

// Serve starts the process behind the next Fuse mount.
func (v *fuseView) Serve(device *os.File) error {
	n := len(v.servers)
	if n >= len(v.fuses) {
		return errors.New("more file systems are mounted than were planned")
	}
	s, err := v.launcher.start(&v.fuses[n], device)
	if err != nil {
		return err
	}
	v.servers = append(v.servers, s)
	return nil
}

// Failure returns what the servers printed before a set-up failed, nil if nothing.
func (v *fuseView) Failure() error {
	var said []string
	for _, s := range v.servers {
		if text := s.failure(); text != "" {
			said = append(said, text)
		}
	}
	if said == nil {
		return nil
	}
	return errors.New(strings.Join(said, "; "))
}

// Diff waits for the servers. They end when the kernel has released their file systems, and then
// everything is in the uppers.
func (v *fuseView) Diff(b *fsdiff.Builder, memory int) (Found, error) {
	var notes []string
	deadline := time.Now().Add(patience)
	for _, s := range v.servers {
		if note := s.wait(deadline); note != "" {
			notes = append(notes, note)
		}
	}
	found, err := v.layered.Diff(b, memory)
	found.ReadOnly = nil // the kernel refuses no FUSE mount
	found.Notes = append(notes, found.Notes...)
	return found, err
}

// Close ends the servers.
func (v *fuseView) Close() error {
	for _, s := range v.servers {
		kill(s)
	}
	closeLauncher(v.launcher)
	return nil
}

// fuseName is the program that serves the mounts of the strategy fuse.
const fuseName = "fuse-overlayfs"

// FuseProgram looks for fuse-overlayfs in PATH and where distributions install it. The error wraps
// [exec.ErrNotFound].
func FuseProgram() (string, error) {
	path, err := exec.LookPath(fuseName)
	for _, dir := range []string{"/usr/bin/", "/usr/sbin/", "/usr/local/bin/", "/bin/"} {
		if err == nil {
			break
		}
		path, err = exec.LookPath(dir + fuseName)
	}
	return path, err
}
