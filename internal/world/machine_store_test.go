package world

import (
	"os"
	"strings"
	"testing"
)

// WLD9: the user's own directories beside the uppers stay, whatever their names are: neither the gc
// before a world nor a world of the same name touches them.
func TestMachineStoreSharedWithUser(t *testing.T) {
	onMachine(t, func(t *testing.T, m *machine) {
		root := m.home + "/projects"
		m.dirs.Overlay = []string{root}
		m.mkdir(root + "/src/deep")
		m.mkdir(root + "/empty")
		m.mkdir(root + "/private")
		must(t, os.Chmod(root+"/private", 0o700))
		m.fill(root, root+"/src", root+"/src/deep")
		before := m.files()
		o := m.world(m.tree, `echo x > new`)
		m.expect(o, "+ new")
		for _, name := range []string{"src", "empty", "private"} {
			o = m.ask(request{Name: name, Cwd: m.tree}, `echo ran`)
			if !strings.Contains(o.Err, "not made by substrate") || o.Stdout != "" || o.CloseErr != "" {
				t.Errorf("a world with the name of the user's directory: error %q, printed %q, at the end %q", o.Err, o.Stdout, o.CloseErr)
			}
		}
		after := m.files()
		for path, was := range before {
			if path != root && after[path] != was {
				t.Errorf("%s is now %q, was %s", path, after[path], was)
			}
		}
		m.dirs.Overlay = nil
		m.nothingLeft()
	})
}

// WLD7: planted symlinks at the places of roots are not followed: their targets are neither used as
// a store nor hidden from the command.
func TestMachinePlantedSymlinks(t *testing.T) {
	onMachine(t, func(t *testing.T, m *machine) {
		planted := "/tmp/substrate-4711"
		must(t, os.Symlink(m.tree, planted))
		m.mkdir(m.tree + "/overlay/work")
		m.mkdir(m.tree + "/worlds/work")
		m.fill(m.tree, m.tree+"/overlay", m.tree+"/overlay/work")
		unchanged := m.watch()
		run := m.dirs.Run[0]
		o := m.ask(request{Cwd: m.tree, Dirs: Dirs{Run: []string{planted, run}, Overlay: []string{planted + "/overlay", m.dirs.Overlay[0]}}},
			alter, m.tree, m.tree+"/overlay", m.tree+"/overlay/work")
		m.expect(o, altered(m.tree, m.tree, m.tree+"/overlay", m.tree+"/overlay/work")...)
		o = m.ask(request{Cwd: m.tree, Dirs: Dirs{Run: []string{run, planted}, Overlay: []string{planted + "/overlay"}}}, `echo x > new`)
		m.expect(o, "+ new")
		m.noted(o, "/tmp/substrate-4711 is not a directory")
		unchanged()
	})
}
