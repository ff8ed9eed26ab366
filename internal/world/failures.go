package world

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"substrate/internal/hostfile"
	"substrate/internal/world/view"
)

// failuresFile, in the run-time root, says which strategies failed at their mounts. It exists only
// where one did. Elsewhere the best strategy is tried each time, which costs less than to record
// that it works.
const failuresFile = "strategies.json"

// failuresAge is how long a failure is believed. Things that no setting shows, such as a loaded
// policy, may have changed since.
const failuresAge = time.Hour

// failures is the content of failuresFile.
type failures struct {
	Host   string    `json:"host"` // what the answers depend on, see hostKey
	Failed []failure `json:"failed"`
}

// failure is a strategy that failed in a trial.
type failure struct {
	Rejected
	At time.Time `json:"at"`
}

// loadFailures returns what is known of the first of the candidates that fail on this host as it
// is. There is always a candidate left, and it is never direct unless that is the only one: direct
// is taken only after a look at how things are. Nothing is known for a caller who asks for one
// strategy: they get the reason as it is now.
func loadFailures(run string, spec *Spec, candidates []view.Strategy) []failure {
	if len(candidates) < 2 {
		return nil
	}
	text, err := os.ReadFile(filepath.Join(run, failuresFile))
	if err != nil || !strings.Contains(string(text), `"`+candidates[0].Name+`"`) {
		return nil // nearly always, and before the host is asked for its key
	}
	var first []failure
	known := readFailures(run, spec)
	for len(candidates) > 1 && !candidates[1].NoWorld {
		i := slices.IndexFunc(known, func(f failure) bool { return f.Strategy == candidates[0].Name })
		if i < 0 {
			break
		}
		first = append(first, known[i])
		candidates = candidates[1:]
	}
	return first
}

// skip rejects the first candidates, which are known to fail.
func (w *World) skip(known []failure) {
	for _, f := range known {
		w.selection.candidates = w.selection.candidates[1:]
		w.selection.rejected = append(w.selection.rejected, f.Rejected)
		w.report.step(f.Strategy, f.Reason+" (found "+f.At.Format(time.RFC3339)+"); trying "+w.selection.candidates[0].Name, false)
	}
}

// readFailures returns the recorded failures that are still to be believed.
func readFailures(run string, spec *Spec) []failure {
	text, err := os.ReadFile(filepath.Join(run, failuresFile))
	if err != nil {
		return nil
	}
	var all failures
	if json.Unmarshal(text, &all) != nil || all.Host != hostKey(spec.Root, spec.Dirs.Overlay) {
		return nil
	}
	return slices.DeleteFunc(all.Failed, func(f failure) bool {
		age := time.Since(f.At)
		return age < 0 || age > failuresAge
	})
}

// saveFailures records failures for later worlds. What is recorded of other strategies stays. An
// error costs later worlds only time, so none is returned.
func saveFailures(run string, spec *Spec, failed []Rejected, works []string) {
	old := readFailures(run, spec)
	all := failures{Host: hostKey(spec.Root, spec.Dirs.Overlay)}
	for _, f := range old {
		again := slices.ContainsFunc(failed, func(r Rejected) bool { return r.Strategy == f.Strategy })
		if !again && !slices.Contains(works, f.Strategy) {
			all.Failed = append(all.Failed, f)
		}
	}
	for _, r := range failed {
		all.Failed = append(all.Failed, failure{Rejected: r, At: time.Now().UTC()})
	}
	path := filepath.Join(run, failuresFile)
	if len(all.Failed) == 0 {
		if len(old) > 0 {
			_ = os.Remove(path)
		}
		return
	}
	if text, err := json.Marshal(all); err == nil {
		_ = hostfile.Replace(path, append(text, '\n'), 0o600)
	}
}

// keySettings are files whose content decides what a caller may mount.
var keySettings = []string{
	"/proc/sys/kernel/random/boot_id", "/proc/sys/kernel/osrelease", "/proc/sys/user/max_user_namespaces", "/proc/sys/kernel/unprivileged_userns_clone",
	"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "/proc/self/attr/current",
}

// keyLimits are the lines of /proc/self/status that show whether something was taken from this
// process, such as the right to make namespaces: what fails in it says nothing about others.
var keyLimits = []string{"CapEff:", "CapBnd:", "NoNewPrivs:", "Seccomp:", "Seccomp_filters:"}

// hostKey names everything that the outcome of a mount is known to depend on: kernel and boot, the
// caller, this program, the settings of user namespaces, and what fuse needs. If any of it changes,
// the recorded failures no longer count.
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
	status, _ := os.ReadFile("/proc/self/status") // without it the key says less
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
