package layout

import (
	"fmt"
	"path"
	"strings"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"substrate/internal/world/mount"
)

// drawMachine makes up a machine: a few directories with mounts of all classes, some on top of
// others.
func drawMachine(t *rapid.T) (mountinfo, tree string) {
	var info, files strings.Builder
	info.WriteString("1 0 8:1 / / rw - ext4 /dev/a rw\n")
	dirs := []string{"/proc", "/sys", "/dev", "/run", "/etc", "/home/me", "/srv", "/var/tmp", "/var/run"}
	for range rapid.IntRange(0, 12).Draw(t, "dirs") {
		base := rapid.SampledFrom(append(dirs, "/")).Draw(t, "base")
		dirs = append(dirs, path.Join(base, rapid.SampledFrom([]string{"a", "b", "c-d", "e f"}).Draw(t, "name")))
	}
	for _, dir := range dirs {
		if strings.Contains(dir, " ") {
			continue // lines of the tree are split at blanks; as a mount point it is a directory anyway
		}
		mode := rapid.SampledFrom([]string{"0755", "0777", "1777", "0700", "0711"}).Draw(t, "mode")
		fmt.Fprintf(&files, "d %s %d %s\n", mode, rapid.SampledFrom([]int{0, 1000}).Draw(t, "owner"), dir)
		if rapid.Bool().Draw(t, "file") {
			fmt.Fprintf(&files, "f %s %d 10 %s/file\n", rapid.SampledFrom([]string{"0644", "0666", "0600"}).Draw(t, "fmode"), rapid.SampledFrom([]int{0, 1000}).Draw(t, "fowner"), dir)
		}
	}
	files.WriteString("f 0644 0 10 /etc/resolv.conf\n")
	points := map[int]string{1: "/"}
	for id := 2; id < 2+rapid.IntRange(0, 12).Draw(t, "mounts"); id++ {
		parent := rapid.IntRange(1, id-1).Draw(t, "parent")
		point := rapid.SampledFrom(dirs).Draw(t, "point")
		if !within(point, points[parent]) {
			continue
		}
		points[id] = point
		fstype := rapid.SampledFrom([]string{"ext4", "tmpfs", "proc", "nfs", "fuse.x", "vfat", "squashfs", "autofs", "nsfs", "overlay"}).Draw(t, "fstype")
		rw := rapid.SampledFrom([]string{"rw", "ro", "rw,nosuid"}).Draw(t, "options")
		super := rapid.SampledFrom([]string{"rw", "ro"}).Draw(t, "super")
		fmt.Fprintf(&info, "%d %d 8:%d / %s %s - %s none %s\n", id, parent, id, strings.ReplaceAll(point, " ", `\040`), rw, fstype, super)
	}
	return info.String(), files.String()
}

// For every machine, a plan can be carried out and covers every mount: no target is missing, no
// remote file system is asked, and a user's world has no overlay or single bind over a directory
// with mounts below, which the kernel would refuse.
func TestPlanProperties(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		info, tree := drawMachine(rt)
		for who, uid := range map[string]int{"root": 0, "user": 1000} {
			m := &machineFile{mountinfo: []byte(info), tree: tree, hide: []string{"/srv/a"}, cwd: rapid.SampledFrom([]string{"/home/me", "/run/a", "/srv", "/"}).Draw(rt, "cwd")}
			in, root := m.input(rt, uid)
			plan, err := Make(in)
			if err != nil {
				rt.Fatalf("%s: %v", who, err)
			}
			checkCovered(rt, who, in, root, plan)
			checkTargets(rt, in, root, plan)
			if rt.Failed() {
				rt.Fatalf("%s:\n%s\n%s\n%s", who, info, tree, show(plan, true))
			}
		}
	})
}

// checkTargets follows the mounts as the kernel would, and checks that each target exists.
func checkTargets(t reporter, in Input, root *node, plan *Plan) {
	t.Helper()
	p := &planner{root: root}
	fs := in.FS.(*fakeFS)
	made := map[string]bool{}
	var done []mount.Mount
	exists := func(name string) bool {
		for i := len(done) - 1; i >= 0; i-- { // the last mount is on top
			m := done[i]
			if !within(name, m.Target) || covers(done[i+1:], m.Target, name) {
				continue
			}
			switch {
			case name == m.Target || made[name]:
				return true
			case m.Kind == mount.Overlay && m.Lower != m.Target:
				return inShadow(plan, m.Lower, name)
			case m.Kind == mount.Overlay || m.Kind == mount.Bind:
				_, there := fs.stats[name]
				return there
			default:
				return m.Kind == mount.Proc
			}
		}
		return name == "/"
	}
	for _, m := range plan.Mounts {
		switch m.Kind {
		case mount.Mkdir, mount.File, mount.Device, mount.Symlink:
			if !exists(path.Dir(m.Target)) {
				t.Errorf("no directory for %v", m)
			}
			made[m.Target] = true
			continue
		case mount.Overlay, mount.Bind:
			lower := m.Lower + m.Source
			n, _ := p.mountOf(lower)
			if in.User && !m.Inside && !within(lower, "/S") && n.hasBelow(lower) {
				t.Errorf("the kernel refuses this to a user, there are mounts below: %v", m)
			}
		}
		if !m.Optional && !exists(m.Target) {
			t.Errorf("no target for %v", m)
		}
		if m.Kind == mount.Tmpfs {
			for name := range made {
				if within(name, m.Target) && name != m.Target {
					delete(made, name)
				}
			}
		}
		if m.Kind != mount.Remount {
			done = append(done, m)
		}
	}
}

// covers reports whether a later mount hides name in the mount at target.
func covers(later []mount.Mount, target, name string) bool {
	for _, m := range later {
		if within(name, m.Target) && len(m.Target) >= len(target) {
			return true
		}
	}
	return false
}

// inShadow reports whether the shadow at place has name.
func inShadow(plan *Plan, place, name string) bool {
	for _, s := range plan.Shadows {
		for _, e := range s.Entries {
			if s.Place == place && path.Join(s.Path, e.Name) == name {
				return true
			}
		}
	}
	return false
}

func FuzzParseMountInfo(f *testing.F) {
	f.Add([]byte("1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 8:2 / /a\\040b ro,nosuid shared:1 - tmpfs none rw\n"))
	f.Add([]byte("1 1 0:2 / / rw - rootfs rootfs rw\n2 1 0:3 / / rw - ext4 x ro,a\n3 2 0:4 / /x rw - proc proc rw\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		root, err := parseMountInfo(text)
		if err != nil {
			return
		}
		seen := map[*node]bool{root: true}
		root.walk(func(n *node) {
			if seen[n] {
				t.Fatalf("mount %d is in the tree twice", n.id)
			}
			seen[n] = true
		})
	})
}

// BenchmarkMake plans for this machine, and for one with 30 more mounts. Every world pays this.
func BenchmarkMake(b *testing.B) {
	info := readFile(b, "/proc/self/mountinfo")
	root, err := parseMountInfo([]byte(info))
	if err != nil {
		b.Fatal(err)
	}
	many := info
	entries, err := Host{}.ReadDir("/etc")
	if err != nil {
		b.Fatal(err)
	}
	for i, n := 0, 0; i < len(entries) && n < 30; i++ {
		if entries[i].Type == syscall.S_IFDIR {
			n++
			many += fmt.Sprintf("%d %d 8:%d / /etc/%s rw,nosuid - ext4 /dev/x rw\n", 10000+n, root.id, n, entries[i].Name)
		}
	}
	for _, bm := range []struct {
		name, info string
		user       bool
	}{{"root", info, false}, {"root30", many, false}, {"user", info, true}} {
		b.Run(bm.name, func(b *testing.B) {
			in := Input{
				MountInfo: []byte(bm.info), FS: Host{}, User: bm.user, UID: 12345, GID: 12345, Cwd: "/tmp",
				Hide: []string{"/var/lib/substrate", "/run/substrate"}, EmptyDir: "/S/n", Empty: "/S/e", Resolv: "/S/r", Place: fakePlace,
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Make(in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
