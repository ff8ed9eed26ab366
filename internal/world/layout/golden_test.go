package layout

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"substrate/internal/world/mount"
)

var update = flag.Bool("update", false, "write the golden files anew")

// fakePlace returns short names, which keep golden files readable.
func fakePlace(kind PlaceKind, n int) string {
	return fmt.Sprintf("/S/%s%d", [...]string{"u", "w", "shadow", "copy", "memory/u", "memory/w"}[kind], n)
}

// machineFile is a golden file: a machine in testdata, and the plans for root and for uid 1000.
type machineFile struct {
	archive   *txtar.Archive
	mountinfo []byte
	tree      string
	cwd       string
	hide      []string
}

func readMachine(t *testing.T, file string) *machineFile {
	t.Helper()
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	m := &machineFile{archive: archive}
	for line := range strings.Lines(string(archive.Comment)) {
		if cwd, found := strings.CutPrefix(line, "cwd: "); found {
			m.cwd = strings.TrimSpace(cwd)
		}
		if dir, found := strings.CutPrefix(line, "hide: "); found {
			m.hide = append(m.hide, strings.TrimSpace(dir))
		}
	}
	m.mountinfo, m.tree = m.file("mountinfo"), string(m.file("tree"))
	return m
}

func (m *machineFile) file(name string) []byte {
	for _, f := range m.archive.Files {
		if f.Name == name {
			return f.Data
		}
	}
	return nil
}

func (m *machineFile) set(name string, data []byte) {
	for i := range m.archive.Files {
		if m.archive.Files[i].Name == name {
			m.archive.Files[i].Data = data
			return
		}
	}
	m.archive.Files = append(m.archive.Files, txtar.File{Name: name, Data: data})
}

// input returns the input of a plan for the machine and a caller.
func (m *machineFile) input(t reporter, uid int) (Input, *node) {
	t.Helper()
	root, err := parseMountInfo(m.mountinfo)
	if err != nil {
		t.Fatal(err)
	}
	fs := newFakeFS(t, uid, m.tree)
	fs.addMounts(root)
	return Input{
		MountInfo: m.mountinfo, FS: fs, User: uid != 0, UID: uid, GID: uid, Cwd: m.cwd, Hide: m.hide,
		EmptyDir: "/S/nothing", Empty: "/S/empty", Resolv: "/S/resolv.conf", Place: fakePlace, Options: "-",
	}, root
}

// show prints a plan without what is the same on every machine.
func show(plan *Plan, whole bool) string {
	var b strings.Builder
	for _, m := range plan.Mounts {
		if whole || !within(m.Target, "/proc") && !within(m.Target, "/sys") && !within(m.Target, "/dev") {
			b.WriteString(strings.ReplaceAll(m.String(), " data=-", "") + "\n")
		}
	}
	for _, u := range plan.Uppers {
		fmt.Fprintf(&b, "upper %d %q mode=%04o owner=%d\n", u.N, u.Path, u.Mode, u.UID)
	}
	for _, s := range plan.Shadows {
		fmt.Fprintf(&b, "shadow %s of %q mode=%04o\n", s.Place, s.Path, s.Stat.Mode&0o7777)
		for _, e := range s.Entries {
			fmt.Fprintf(&b, "  %q type=%02o mode=%04o empty=%v\n", e.Name, e.Stat.Mode>>12, e.Stat.Mode&0o7777, e.Empty)
		}
	}
	for _, c := range plan.Copies {
		fmt.Fprintf(&b, "copy %s of %q\n", c.Place, c.Path)
	}
	for _, note := range plan.Notes {
		b.WriteString("note " + note + "\n")
	}
	return b.String()
}

// WLD1, WLD4: plans for real machines. Run with -update to write the current plans.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) < 8 {
		t.Fatalf("testdata has %d machines, %v", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		t.Run(name, func(t *testing.T) {
			m := readMachine(t, file)
			for golden, uid := range map[string]int{"root": 0, "user": 1000} {
				in, root := m.input(t, uid)
				plan, err := Make(in)
				if err != nil {
					t.Fatal(err)
				}
				checkCovered(t, golden, in, root, plan)
				got := show(plan, name == "hybrid-vm")
				if *update {
					m.set(golden, []byte(got))
					continue
				}
				if diff := cmp.Diff(string(m.file(golden)), got); diff != "" {
					t.Errorf("plan for %s differs (-want +got):\n%s", golden, diff)
				}
			}
			if *update {
				if err := os.WriteFile(file, txtar.Format(m.archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// checkCovered checks what holds for every plan: each writable mount is under exactly one overlay
// of its own, or covered in another way, or named in a note; nothing of the host's proc, sys or run
// is left.
func checkCovered(t reporter, who string, in Input, root *node, plan *Plan) {
	t.Helper()
	notes := strings.Join(plan.Notes, "\n") + "\n"
	targets := map[string][]mount.Mount{}
	for _, m := range plan.Mounts {
		targets[m.Target] = append(targets[m.Target], m)
		checkNotHost(t, who, m)
	}
	for _, s := range plan.Shadows {
		for _, e := range s.Entries {
			name := filepath.Join(s.Path, e.Name)
			targets[name] = append(targets[name], mount.Mount{Kind: mount.Mkdir, Target: name})
		}
	}
	root.walk(func(n *node) {
		if n.class() == pseudo || n.superRO || n.flags&mount.ReadOnly != 0 || inFresh(n.path) || hiddenBy(in, n.path) {
			return
		}
		overlays, others := 0, 0
		for _, m := range targets[n.path] {
			switch m.Kind {
			case mount.Overlay:
				overlays++
			case mount.Bind, mount.Tmpfs: // copied, rebuilt or masked
				others++
			}
		}
		// In a user's world, an empty directory that the caller cannot write to is only a
		// directory.
		if overlays > 1 || overlays+others == 0 && !strings.Contains(notes, n.path+" ") && (who == "root" || targets[n.path] == nil) {
			t.Errorf("%s: mount at %q has %d overlays, %d other mounts and no note", who, n.path, overlays, others)
		}
	})
	seen := map[string]bool{}
	for _, u := range plan.Uppers {
		if seen[u.Path] || seen[u.Dir] {
			t.Errorf("%s: two overlays at %q or with upper %s", who, u.Path, u.Dir)
		}
		seen[u.Path], seen[u.Dir] = true, true
	}
}

// checkNotHost checks that a mount shows nothing of the host's proc, sys or run.
func checkNotHost(t reporter, who string, m mount.Mount) {
	t.Helper()
	for _, other := range m.Else {
		if m.Kind != mount.Sysfs {
			checkNotHost(t, who, other)
		}
	}
	if m.Inside || m.Kind == mount.Symlink {
		return
	}
	for _, source := range []string{m.Source, m.Lower} {
		for _, dir := range []string{"/proc", "/sys", "/run"} {
			if source != "" && within(source, dir) && !(m.Kind == mount.Overlay && m.Lower != dir) {
				t.Errorf("%s: the host's %s comes in: %v", who, source, m)
			}
		}
		if within(source, "/dev") && m.Kind != mount.Bind && m.Kind != mount.Overlay {
			t.Errorf("%s: the host's %s comes in: %v", who, source, m)
		}
	}
	if (m.Kind == mount.Overlay || m.Kind == mount.RBind) && m.Flags&mount.NoDev == 0 {
		t.Errorf("%s: devices of the host work in %v", who, m)
	}
}

func hiddenBy(in Input, name string) bool {
	return slices.ContainsFunc(in.Hide, func(dir string) bool { return within(name, dir) })
}

func inFresh(name string) bool {
	for _, dir := range fresh {
		if within(name, dir) {
			return true
		}
	}
	return within(name, varRun)
}
