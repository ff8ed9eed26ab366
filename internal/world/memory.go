package world

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"substrate/internal/world/view"
	"time"

	"golang.org/x/sys/unix"
)

// memoryFile, in the run-time root, remembers which strategies failed at their mounts. It is there only where one did: elsewhere
// the best strategy is tried in earnest each time, which costs less than to remember that it works.
const memoryFile = "strategies.json"

// memoryAge is how long a failure is believed. What no setting shows, such as a policy that was loaded, may have changed.
const memoryAge = time.Hour

// memory is the content of memoryFile.
type memory struct {
	Host   string       `json:"host"` // what the answers depend on, see hostKey
	Failed []remembered `json:"failed"`
}

// remembered is a strategy that a probe found wanting.
type remembered struct {
	Rejected
	At time.Time `json:"at"`
}

// recall takes the first of the candidates away while they are known to fail on this host as it is. What is known of those that come
// later is no reason for anything. Nothing is recalled for who asks for one strategy: they get the reason as it is now.
func (w *World) recall(run string) {
	if w.spec.Strategy != "" {
		return
	}
	text, err := os.ReadFile(filepath.Join(run, memoryFile))
	if err != nil || !strings.Contains(string(text), `"`+w.candidates[0].Name+`"`) {
		return // nearly always, and before the host is asked what it is like
	}
	known := readMemory(run, &w.spec)
	for len(w.candidates) > 1 && !w.candidates[1].NoWorld { // that comes only after a look at how things are
		i := slices.IndexFunc(known, func(f remembered) bool { return f.Strategy == w.candidates[0].Name })
		if i < 0 {
			return
		}
		f := known[i]
		w.candidates = w.candidates[1:]
		w.rejected = append(w.rejected, f.Rejected)
		w.observe(f.Strategy, f.Reason+" (found "+f.At.Format(time.RFC3339)+"); trying "+w.candidates[0].Name, false)
	}
}

// readMemory returns what is remembered and still to be believed.
func readMemory(run string, spec *Spec) []remembered {
	text, err := os.ReadFile(filepath.Join(run, memoryFile))
	if err != nil {
		return nil
	}
	var m memory
	if json.Unmarshal(text, &m) != nil || m.Host != hostKey(spec.Root, spec.Dirs.Overlay) {
		return nil
	}
	return slices.DeleteFunc(m.Failed, func(f remembered) bool {
		age := time.Since(f.At)
		return age < 0 || age > memoryAge
	})
}

// remember notes failures for the worlds to come. What was remembered before of other strategies stays. An error costs only time, so
// there is none to return.
func remember(run string, spec *Spec, failed []Rejected, works []string) {
	old := readMemory(run, spec)
	m := memory{Host: hostKey(spec.Root, spec.Dirs.Overlay)}
	for _, f := range old {
		again := slices.ContainsFunc(failed, func(r Rejected) bool { return r.Strategy == f.Strategy })
		if !again && !slices.Contains(works, f.Strategy) {
			m.Failed = append(m.Failed, f)
		}
	}
	for _, r := range failed {
		m.Failed = append(m.Failed, remembered{Rejected: r, At: time.Now().UTC()})
	}
	path := filepath.Join(run, memoryFile)
	if len(m.Failed) == 0 {
		if len(old) > 0 {
			_ = os.Remove(path)
		}
		return
	}
	text, err := json.Marshal(m)
	if err != nil {
		return
	}
	f, err := os.CreateTemp(run, "."+memoryFile+"-*")
	if err != nil {
		return
	}
	_, err = f.Write(append(text, '\n'))
	if f.Close() == nil && err == nil && os.Rename(f.Name(), path) == nil {
		return
	}
	_ = os.Remove(f.Name())
}

// keySettings are the files whose content decides what a caller may mount.
var keySettings = []string{
	"/proc/sys/kernel/random/boot_id", "/proc/sys/kernel/osrelease", "/proc/sys/user/max_user_namespaces", "/proc/sys/kernel/unprivileged_userns_clone",
	"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "/proc/self/attr/current",
}

// keyLimits are the lines of /proc/self/status that tell a process apart from which something was taken, such as the right to make namespaces:
// what fails there says nothing about the others.
var keyLimits = []string{"CapEff:", "CapBnd:", "NoNewPrivs:", "Seccomp:", "Seccomp_filters:"}

// hostKey names everything that the outcome of a mount is known to depend on: kernel and boot, the caller, this program, the settings of
// user namespaces, and what fuse needs. If any of it changes, nothing that was remembered counts.
func hostKey(root bool, overlayRoots []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "uid %d gid %d root %v uppers %q\n", os.Geteuid(), os.Getegid(), root, overlayRoots)
	for _, path := range keySettings {
		text, err := os.ReadFile(path)
		if err != nil {
			text = nil
		}
		fmt.Fprintf(&b, "%s %s\n", path, strings.TrimSpace(string(text)))
	}
	status, _ := os.ReadFile("/proc/self/status") // without it there is less to tell processes apart by
	for line := range strings.Lines(string(status)) {
		if slices.ContainsFunc(keyLimits, func(name string) bool { return strings.HasPrefix(line, name) }) {
			b.WriteString(line)
		}
	}
	for _, path := range []string{"/proc/self/ns/mnt", "/proc/self/ns/user"} {
		name, _ := os.Readlink(path) // "" is a name as well
		fmt.Fprintf(&b, "%s\n", name)
	}
	files := []string{"/proc/self/exe", "/dev/fuse"}
	if program, err := view.FuseProgram(); err == nil {
		files = append(files, program)
	}
	for _, path := range files {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err == nil {
			fmt.Fprintf(&b, "%s %d %d %d %d %d %o\n", path, st.Dev, st.Ino, st.Size, st.Mtim.Nano(), st.Rdev, st.Mode)
		}
	}
	return b.String()
}
