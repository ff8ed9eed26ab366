package world

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The tests in this file prove WLD7 and DIF1 where the place for the uppers has a problem.

// overlayOn makes the place for uppers below a directory of the user, in which make has mounted a
// file system.
func (m *machine) overlayOn(name string, make func(dir string)) {
	m.t.Helper()
	dir := m.home + "/.local/" + name
	m.mkdir(dir)
	make(dir)
	m.dirs.Overlay = []string{dir + "/overlay"}
}

// failing is a script that fills the disk with its changes, notices that it is full, and continues.
const failing = `echo a > before
	dd if=/dev/zero of=big bs=64k count=1000 2>&1 | sed -n 's/.*: \(No space left.*\)/\1/p'
	rm delete && echo deleted; cat keep; rm big; echo b > after; echo more >> append; echo kept on`

// If the disk fills up while the command writes, the command gets ENOSPC, and its changes are
// listed.
func TestMachineDiskFull(t *testing.T) {
	for name, mount := range map[string]func(m *machine, dir string){
		"tmpfs": func(m *machine, dir string) { m.tmpfs(dir, "size=2M,mode=0755") },
		"ext4":  func(m *machine, dir string) { m.loop(dir, "4M") },
	} {
		t.Run(name, func(t *testing.T) {
			onMachine(t, func(t *testing.T, m *machine) {
				m.overlayOn("small", func(dir string) { mount(m, dir) })
				m.fill(m.tree)
				unchanged := m.watch()
				o := m.world(m.tree, failing)
				if want := "No space left on device\ndeleted\nkeep\nkept on\n"; o.Stdout != want || o.Err+o.CloseErr != "" {
					t.Errorf("printed %q %q (%s, %s), want %q", o.Stdout, o.Stderr, o.Err, o.CloseErr, want)
				}
				m.sameChanges(o, "+ before", "~ append", "- delete", "+ after")
				o = m.world(m.tree, `dd if=/dev/zero of=big bs=64k count=1000; exit 4`)
				if !strings.Contains(o.Stderr, "No space left on device") || o.Exit != 4 || o.Err+o.CloseErr != "" {
					t.Errorf("printed %q, exit %d (%s, %s)", o.Stderr, o.Exit, o.Err, o.CloseErr)
				}
				m.sameChanges(o, "+ big") // and the disk is full to the end
				unchanged()
			})
		})
	}
}

// The same if no file can be made any more.
func TestMachineNoInodes(t *testing.T) {
	onMachine(t, func(t *testing.T, m *machine) {
		m.overlayOn("few", func(dir string) { m.tmpfs(dir, "nr_inodes=200,mode=0755") })
		m.fill(m.tree)
		unchanged := m.watch()
		o := m.world(m.tree, `echo more >> append; mkdir many; i=0; while : > many/$i; do i=$((i + 1)); done 2>&1 | sed 's/.*: //'; rm -r many; echo x > after; cat keep`)
		if want := "No space left on device\nkeep\n"; o.Stdout != want || o.Err+o.CloseErr != "" {
			t.Errorf("printed %q %q (%s, %s), want %q", o.Stdout, o.Stderr, o.Err, o.CloseErr, want)
		}
		m.sameChanges(o, "~ append", "+ after")
		unchanged()
	})
}

// If there is no room for the world itself, New says so and leaves nothing behind.
func TestMachineNoRoomForWorld(t *testing.T) {
	onMachine(t, func(t *testing.T, m *machine) {
		m.overlayOn("none", func(dir string) { m.tmpfs(dir, "nr_inodes=5,mode=0755") })
		m.fill(m.tree) // more than a copy would have room for
		unchanged := m.watch()
		o := m.world(m.tree, `echo ran`)
		if !strings.Contains(o.Err, "there is room for 2") || o.Stdout != "" || o.CloseErr != "" {
			t.Errorf("error %q, printed %q, at the end %q; want no room", o.Err, o.Stdout, o.CloseErr)
		}
		unchanged()
	})
}

// If no run-time root can be used, nothing is run, and the error names each candidate with its
// reason.
func TestMachineNoRunRoot(t *testing.T) {
	onMachine(t, func(t *testing.T, m *machine) {
		ro, file := m.home+"/ro", m.home+"/file"
		m.mkdir(ro)
		m.tmpfs(ro, "")
		must(t, unix.Mount("", ro, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
		m.write(file, "")
		foreign := m.home + "/foreign"
		m.mkdir(foreign + "/substrate")
		must(t, os.Chown(foreign+"/substrate", 4711, 4711))
		open := m.home + "/open"
		m.mkdir(open + "/substrate")
		must(t, os.Chmod(open+"/substrate", 0o777))
		must(t, os.Symlink(m.tree, m.home+"/link"))
		roots := []string{ro + "/substrate", file, foreign + "/substrate", open + "/substrate", m.home + "/link"}
		unchanged := m.watch()
		o := m.ask(request{Cwd: m.tree, Dirs: Dirs{Run: roots}}, `echo ran`)
		for _, text := range append(roots, "read-only file system", "not a directory", "belongs to uid 4711", "writable by others") {
			if !strings.Contains(o.Err, text) {
				t.Errorf("error %q does not say %q", o.Err, text)
			}
		}
		if o.Stdout != "" {
			t.Errorf("the command ran: %q", o.Stdout)
		}
		// The first usable one is taken.
		o = m.ask(request{Cwd: m.tree, Dirs: Dirs{Run: append(roots, m.dirs.Run[0])}}, `echo x > new`)
		m.expect(o, "+ new")
		unchanged()
	})
}

// Where no disk can hold the changes, they are kept in memory, and the world says so.
func TestMachineOverlayRootRefused(t *testing.T) {
	onMachine(t, func(t *testing.T, m *machine) {
		over := m.home + "/over"
		for _, dir := range []string{over, m.home + "/layers/lower", m.home + "/layers/upper", m.home + "/layers/work"} {
			m.mkdir(dir)
		}
		data := "lowerdir=lower,upperdir=upper,workdir=work"
		data = strings.NewReplacer("=", "="+m.home+"/layers/").Replace(data)
		must(t, unix.Mount("overlay", over, "overlay", 0, data))
		must(t, os.Chown(over, m.uid, m.uid))
		ro := m.home + "/ro"
		m.mkdir(ro)
		m.tmpfs(ro, "")
		m.mkdir(ro + "/overlay")
		must(t, unix.Mount("", ro, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
		m.mkdir(over + "/overlay")
		m.fill(m.tree, over)
		unchanged := m.watch()
		for dir, reason := range map[string]string{over + "/overlay": "is on overlay", ro + "/overlay": "read-only file system"} {
			o := m.ask(request{Cwd: m.tree, Dirs: Dirs{Overlay: []string{dir}}}, alter, m.tree, over)
			m.expect(o, altered(m.tree, m.tree, over)...)
			m.noted(o, reason)
			m.noted(o, "in memory")
		}
		unchanged()
	})
}

// The places for the uppers and for the state may have any name.
func TestMachineRootNames(t *testing.T) {
	onMachine(t, func(t *testing.T, m *machine) {
		m.fill(m.tree)
		unchanged := m.watch()
		for _, name := range hostile {
			dir := m.home + "/.local/" + name
			m.mkdir(dir)
			m.dirs = Dirs{Run: []string{dir + "/substrate"}, Overlay: []string{dir + "/overlay"}}
			o := m.world(m.tree, alter+`ls -A "$HOME/.local/$2/overlay"`, m.tree)
			if o.Err != "" {
				t.Errorf("below %q: %s", name, o.Err)
				continue
			}
			m.sameChanges(o, altered(m.tree, m.tree)...)
			m.nothingLeft()
		}
		unchanged()
	})
}
