package layout

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"substrate/internal/world/mount"
)

// last returns the mount that is seen at path: the last one whose target is path or above it.
func last(plan *Plan, path string) mount.Mount {
	var top mount.Mount
	for _, m := range plan.Mounts {
		switch m.Kind {
		case mount.Mkdir, mount.File, mount.Symlink:
		default:
			if within(path, m.Target) {
				top = m
			}
		}
	}
	return top
}

// DIF7, WLD4: on every machine in testdata, a world can write only to the copy and to what is made
// new, and sees no file system of the host's kernel.
func TestBoundOnAllMachines(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) < 8 {
		t.Fatalf("testdata has %d machines, %v", len(files), err)
	}
	for _, file := range files {
		m := readMachine(t, file)
		for who, uid := range map[string]int{"root": 0, "user": 1000} {
			in, root := m.input(t, uid)
			plan, err := MakeBound(in, "/S/copy", nil)
			if err != nil {
				t.Errorf("%s as %s: %v", file, who, err)
				continue
			}
			if first := plan.Mounts[0]; first.Kind != mount.RBind || first.Target != "/" || first.Flags&mount.ReadOnly == 0 {
				t.Errorf("%s as %s: begins with %v", file, who, first)
			}
			p, err := newPlanner(in)
			if err != nil {
				t.Fatal(err)
			}
			if cwd := p.real(in.Cwd).path; !p.isHidden(cwd) && last(plan, cwd).Source != "/S/copy" {
				t.Errorf("%s as %s: at %s there is %v", file, who, cwd, last(plan, cwd))
			}
			for _, dir := range in.Hide {
				if top := last(plan, p.real(dir).path); top.Source != in.EmptyDir && top.Kind != mount.Tmpfs {
					t.Errorf("%s as %s: the hidden %s shows %v", file, who, dir, top)
				}
			}
			root.walk(func(n *node) {
				top := last(plan, n.path)
				if hidden := top.Kind != mount.RBind || top.Target != "/"; n.class() == pseudo && !hidden {
					t.Errorf("%s as %s: %s (%s) is in sight", file, who, n.path, n.fstype)
				}
			})
			for _, m := range plan.Mounts {
				if fromHost := (m.Kind == mount.Bind || m.Kind == mount.RBind) && !m.Inside && !strings.HasPrefix(m.Source, "/S/"); fromHost && m.Flags&mount.ReadOnly == 0 {
					t.Errorf("%s as %s: %v can be written", file, who, m)
				}
			}
		}
	}
}

// DIF7: mounts in the working directory are on the copy again, read-only. A home in /tmp stays
// visible.
func TestBoundAround(t *testing.T) {
	m := readMachine(t, "testdata/below-cwd.txtar")
	in, _ := m.input(t, 1000)
	around, err := AroundCwd(in)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := MakeBound(in, "/S/copy", append(slices.Clone(around.Remote), around.Kernel...))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range around.Remote {
		if top := last(plan, path); top.Kind != mount.RBind || top.Source != path || top.Flags&mount.ReadOnly == 0 {
			t.Errorf("at %s there is %v", path, top)
		}
	}
	for _, path := range around.Kernel {
		if top := last(plan, path); top.Source != "/S/copy" {
			t.Errorf("the kernel's %s is back: %v", path, top)
		}
	}
	in.Cwd, in.Likely, in.Temp = "/tmp/a/b", []string{"/tmp/home"}, "/tmp/a/t"
	if plan, err = MakeBound(in, "/S/copy", nil); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range plan.Mounts {
		if within(m.Target, "/tmp") {
			got = append(got, m.Kind.String()+" "+m.Target)
		}
	}
	if diff := cmp.Diff([]string{"tmpfs /tmp", "mkdir /tmp/a", "mkdir /tmp/a/t", "mkdir /tmp/a", "mkdir /tmp/a/b", "bind /tmp/a/b"}, got); diff != "" {
		t.Errorf("in /tmp (-want +got):\n%s", diff)
	}
	in.Cwd = "/proc/1"
	if _, err := MakeBound(in, "/S/copy", nil); err == nil {
		t.Error("a working directory in /proc was accepted")
	}
}
