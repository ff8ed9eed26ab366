package world

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"substrate/internal/testenv"
)

// The tests in this file prove WLD1 and WLD2: each machine has several mounts, a world covers all
// of them, and its diff lists the changes on all of them.

// A tmpfs inside the tree, /tmp apart, and what lies around them.
func TestMachineTmpfsInside(t *testing.T) {
	onMachine(t, func(t *testing.T, m *machine) {
		dir := m.tree + "/in/tmpfs"
		m.mkdir(dir)
		m.tmpfs(dir, "mode=0755")
		m.mkdir(dir + "/sub")
		m.mkdir(m.tree + "/plain/sub")
		dirs := []string{m.tree, m.tree + "/in", dir, dir + "/sub", m.tree + "/plain", m.tree + "/plain/sub", m.home, "/tmp"}
		m.fill(dirs...)
		m.check(m.tree, dirs...)
	})
}

// A separate disk inside the tree.
func TestMachineLoop(t *testing.T) {
	onMachine(t, func(t *testing.T, m *machine) {
		dir := m.tree + "/disk"
		m.mkdir(dir)
		m.loop(dir, "8M")
		m.mkdir(dir + "/sub")
		m.fill(m.tree, dir, dir+"/sub")
		m.check(m.tree, m.tree, dir, dir+"/sub")
		m.check(dir, dir, dir+"/sub")
	})
}

// loop mounts a new ext4 image at dir.
func (m *machine) loop(dir, size string) {
	m.t.Helper()
	testenv.NeedProgram(m.t, "mkfs.ext4")
	image := "/run/image" + randomName()
	script := `truncate -s "$1" "$2" && mkfs.ext4 -q -m 0 "$2" && mount -o loop "$2" "$3"`
	if out, err := exec.Command("sh", "-c", script, "sh", size, image, dir).CombinedOutput(); err != nil {
		if _, statErr := os.Stat("/dev/loop-control"); statErr != nil {
			testenv.Skip(m.t, "needs loop devices: "+statErr.Error())
		}
		m.t.Fatalf("mount a loop device: %v: %s", err, out)
	}
	must(m.t, os.Chown(dir, m.uid, m.uid))
	must(m.t, os.RemoveAll(dir+"/lost+found")) // root's, which a user cannot read
}

// Bind mounts of directories inside and outside of the tree. In a world each place changes
// separately.
func TestMachineBind(t *testing.T) {
	onMachine(t, func(t *testing.T, m *machine) {
		source, outside := m.tree+"/source", m.home+"/outside"
		one, two, three := m.tree+"/one", m.tree+"/two", m.tree+"/three"
		for _, dir := range []string{source + "/sub", outside, one, two, three} {
			m.mkdir(dir)
		}
		m.fill(source, source+"/sub", outside)
		m.bind(source, one, 0)
		m.bind(source+"/sub", two, 0)
		m.bind(outside, three, 0)
		m.check(m.tree, source, source+"/sub", one, one+"/sub", two, three, outside)
		m.check(three, three, one)
	})
}

// The same directory at two places: a change through one is seen and listed there. The other place
// shows the old content; worlds differ from the host in that, as docs/known-limits.md has to say.
func TestMachineSameFileSystemTwice(t *testing.T) {
	onMachine(t, func(t *testing.T, m *machine) {
		one, two := m.tree+"/one", m.tree+"/two"
		m.mkdir(one)
		m.mkdir(two)
		m.tmpfs(one, "")
		m.bind(one, two, 0)
		m.fill(one)
		unchanged := m.watch()
		o := m.world(m.tree, `echo x >> one/append; cat one/append two/append; rm two/keep; ls one/keep`)
		if want := "append\nx\nappend\none/keep\n"; o.Stdout != want {
			t.Errorf("printed %q, want %q; %+v", o.Stdout, want, o)
		}
		m.sameChanges(o, "~ one/append", "- two/keep")
		unchanged()
	})
}

// What is read-only on the host is so in a world, and says the same when written to.
func TestMachineReadOnly(t *testing.T) {
	onMachine(t, func(t *testing.T, m *machine) {
		source, ro, snap, file := m.tree+"/source", m.tree+"/ro", m.tree+"/snap", m.tree+"/file"
		for _, dir := range []string{source, ro, snap} {
			m.mkdir(dir)
		}
		m.fill(source)
		m.write(file, "keep\n")
		m.bind(source, ro, unix.MS_RDONLY)
		m.tmpfs(snap, "")
		m.fill(snap)
		must(t, unix.Mount("", snap, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
		m.bind(source+"/keep", file, unix.MS_RDONLY)
		const script = `for d; do
			echo x > "$d/new"; echo x >> "$d/append"; rm "$d/delete"; mv "$d/rename" "$d/renamed"; chmod 600 "$d/keep"; mkdir "$d/dir"; cat "$d/keep"
		done 2>&1
		(echo x > file) 2>&1; cat file; rm file 2>&1`
		want, _ := m.host(m.tree, script, ro, snap)
		if !strings.Contains(want, "Read-only file system") {
			t.Fatalf("on the host: %s", want)
		}
		unchanged := m.watch()
		o := m.world(m.tree, script, ro, snap)
		if o.Stdout != want {
			t.Errorf("in a world:\n%s\non the host:\n%s", o.Stdout, want)
		}
		m.sameChanges(o)
		unchanged()
		m.check(ro, m.tree+"/source") // from a working directory that is read-only
	})
}

// A mount below the working directory.
func TestMachineBelowCwd(t *testing.T) {
	onMachine(t, func(t *testing.T, m *machine) {
		cwd := m.tree + "/work"
		below := cwd + "/a/b/mnt"
		m.mkdir(below)
		m.tmpfs(below, "")
		m.fill(cwd, cwd+"/a", cwd+"/a/b", below)
		m.check(cwd, cwd, cwd+"/a", cwd+"/a/b", below)
		m.check(cwd+"/a/b", cwd+"/a/b", below, cwd+"/a")
	})
}

// The working directory itself a mount, with another one below.
func TestMachineCwdMounted(t *testing.T) {
	onMachine(t, func(t *testing.T, m *machine) {
		cwd := m.tree + "/work"
		m.mkdir(cwd)
		m.tmpfs(cwd, "")
		below := cwd + "/deep/mnt"
		m.mkdir(below)
		m.tmpfs(below, "")
		m.fill(cwd, cwd+"/deep", below)
		m.check(cwd, cwd, cwd+"/deep", below)
		m.check(below, below, cwd)
	})
}

// The home directory on a file system of its own, below a /home that is one too.
func TestMachineHomeApart(t *testing.T) {
	onMachine(t, func(t *testing.T, m *machine) {
		m.tmpfs(m.home, "")
		m.mkdir(m.tree)
		m.mkdir(m.home + "/.config/app")
		m.mkdir(m.home + "/.local")
		m.fill(m.home, m.tree, m.home+"/.config/app", "/tmp")
		unchanged := m.watch()
		o := m.world(m.tree, alter+`echo dot > ~/.profile; cd ~ && echo up > ../tester/up; mkdir -p ~/.cache/x`, m.home, m.tree, m.home+"/.config/app", "/tmp")
		m.expect(o, append(altered(m.tree, m.home, m.tree, m.home+"/.config/app", "/tmp"),
			"+ "+m.home+"/.profile", "+ "+m.home+"/up", "+ "+m.home+"/.cache", "+ "+m.home+"/.cache/x")...)
		unchanged()
	})
}

// Single files that are mounted, from the same and from another file system.
func TestMachineFileBind(t *testing.T) {
	onMachine(t, func(t *testing.T, m *machine) {
		source := m.home + "/source"
		m.mkdir(source)
		m.fill(source)
		for _, name := range []string{"append", "delete", "keep", "rename"} {
			m.write(m.tree+"/"+name, "covered\n")
			m.bind(source+"/"+name, m.tree+"/"+name, 0)
		}
		unchanged := m.watch()
		o := m.world(m.tree, `echo more >> append; cat append keep; (rm delete) 2>&1; : > rename; mv keep kept 2>&1; stat -c %a rename`)
		want := "append\nmore\nkeep\nrm: cannot remove 'delete': Device or resource busy\nmv: cannot move 'keep' to 'kept': Device or resource busy\n644\n"
		if o.Stdout != want || o.Err+o.Stderr != "" {
			t.Errorf("printed %q %q (%s), want %q", o.Stdout, o.Stderr, o.Err, want)
		}
		m.sameChanges(o, "~ append", "~ rename")
		unchanged()
	})
}

// hostile are names that mount options, mountinfo and shells may misread.
var hostile = []string{
	`a:b,c\d`, "line\nbreak", "two  blanks ", "é", `\054\040`, "tab\tquote\"'", "-dash", "#hash=upperdir=x", "\xff\xfe", strings.Repeat("n", 255),
}

// Mount points with such names, and plain directories beside and below them.
func TestMachineNames(t *testing.T) {
	onMachine(t, func(t *testing.T, m *machine) {
		dirs := []string{m.tree}
		for _, name := range hostile {
			dir := m.tree + "/" + name
			m.mkdir(dir)
			m.tmpfs(dir, "")
			m.mkdir(dir + "/" + name)
			dirs = append(dirs, dir, dir+"/"+name)
		}
		m.fill(dirs...)
		m.check(m.tree, dirs...)
		m.check(dirs[2], dirs[:5]...)
	})
}

// Three file systems at one place, and one below a place that was covered later.
func TestMachineStacked(t *testing.T) {
	onMachine(t, func(t *testing.T, m *machine) {
		dir, covered := m.tree+"/stack", m.tree+"/covered"
		m.mkdir(dir)
		m.mkdir(covered + "/below")
		for i := range 3 {
			m.tmpfs(dir, "")
			m.write(dir+fmt.Sprint("/layer", i), "x")
		}
		m.tmpfs(covered+"/below", "")
		m.tmpfs(covered, "")
		m.mkdir(covered + "/below")
		m.fill(m.tree, dir, covered, covered+"/below")
		m.check(m.tree, m.tree, dir, covered, covered+"/below")
		o := m.world(m.tree, `ls stack`)
		if want := "append\ndelete\nkeep\nlayer2\nrename\n"; o.Stdout != want {
			t.Errorf("the top of the stack holds %q, want %q", o.Stdout, want)
		}
	})
}

// Mount flags hold in a world: noexec and nosuid work.
func TestMachineFlags(t *testing.T) {
	onMachine(t, func(t *testing.T, m *machine) {
		for name, flags := range map[string]uintptr{"noexec": unix.MS_NOEXEC, "nosuid": unix.MS_NOSUID, "both": unix.MS_NOEXEC | unix.MS_NOSUID, "free": 0} {
			dir := m.tree + "/" + name
			m.mkdir(dir)
			must(t, unix.Mount("tmpfs", dir, "tmpfs", flags, ""))
			must(t, os.Chown(dir, m.uid, m.uid))
			m.write(dir+"/prog", "#!/bin/sh\necho ran\n")
			must(t, os.Chmod(dir+"/prog", 0o755))
		}
		const script = `for d in noexec nosuid both free; do
			echo $d; $d/prog 2>&1
			cp /bin/true $d/mine && { $d/mine && echo ran mine; } 2>&1
			echo $(while read -r _ _ _ _ point opts _; do [ "$point" != "$PWD/$d" ] || for o in nosuid noexec; do case ,$opts, in *,$o,*) echo $o;; esac; done; done < /proc/self/mountinfo)
			rm $d/mine
		done`
		want, _ := m.host(m.tree, script)
		unchanged := m.watch()
		o := m.world(m.tree, script)
		if o.Stdout != want || strings.Count(want, "ran\n") != 2 {
			t.Errorf("in a world:\n%s%s\non the host:\n%s", o.Stdout, o.Stderr, want)
		}
		m.sameChanges(o)
		unchanged()
	})
}

// A directory that only root can enter stays closed for a user. From one that a user can enter but
// not list, mounts are carried over. If it has mounts, other names are not, and the world says so.
func TestMachineUnreadable(t *testing.T) {
	onMachine(t, func(t *testing.T, m *machine) {
		shut, blind, plain := m.tree+"/shut", m.tree+"/blind", m.tree+"/plain"
		for _, dir := range []string{shut + "/mnt", blind + "/mnt"} {
			m.mkdir(dir)
			m.tmpfs(dir, "")
			m.fill(dir)
		}
		m.mkdir(plain)
		m.fill(m.tree, shut, blind, plain)
		for dir, mode := range map[string]os.FileMode{shut: 0o700, blind: 0o711, plain: 0o711} {
			must(t, os.Chown(dir, 0, 0))
			must(t, os.Chmod(dir, mode))
		}
		if m.uid == 0 {
			m.check(m.tree, m.tree, shut, blind, shut+"/mnt", blind+"/mnt")
			return
		}
		const script = `ls shut; cat shut/keep; echo x > shut/new; rm -r shut/mnt/keep; ls shut/mnt
			for d in blind plain; do ls $d; cat $d/mnt/keep; echo x > $d/new; done; cat plain/keep; rm plain/delete`
		want, _ := m.host(m.tree, script)
		if !strings.Contains(want, "shut/mnt/keep': Permission denied") {
			t.Fatalf("on the host:\n%s", want)
		}
		unchanged := m.watch()
		o := m.world(m.tree, "("+script+") 2>&1")
		if o.Stdout != want {
			t.Errorf("in a world:\n%s\non the host:\n%s", o.Stdout, want)
		}
		m.sameChanges(o)
		m.noted(o, shut+"/mnt")
		m.noted(o, blind+" cannot be listed")
		unchanged()
		m.check(m.tree, m.tree, blind+"/mnt")
	})
}

// noted checks that the world reports something that it could not do, in a line that contains text.
func (m *machine) noted(o outcome, text string) {
	m.t.Helper()
	for _, d := range o.Degraded {
		if strings.Contains(d.Message, text) {
			return
		}
	}
	m.t.Errorf("nothing is said of %q: %+v", text, o.Degraded)
}

// A working directory is carried over if it lies in one that has mounts and may be searched but not
// listed.
func TestMachineCwdInUnreadable(t *testing.T) {
	onMachine(t, func(t *testing.T, m *machine) {
		blind := m.home + "/blind"
		cwd := blind + "/work/here"
		m.mkdir(cwd)
		m.mkdir(blind + "/mnt")
		m.tmpfs(blind+"/mnt", "")
		m.fill(cwd, blind+"/mnt")
		must(t, os.Chown(blind, 0, 0))
		must(t, os.Chmod(blind, 0o711))
		m.check(cwd, cwd, blind+"/mnt")
	})
}

// A deep tree with mounts on the way down.
func TestMachineDeep(t *testing.T) {
	onMachine(t, func(t *testing.T, m *machine) {
		dirs := []string{m.tree}
		for i := range 60 {
			dir := dirs[len(dirs)-1] + "/level"
			m.mkdir(dir)
			if i%20 == 10 {
				m.tmpfs(dir, "")
			}
			dirs = append(dirs, dir)
		}
		m.fill(dirs...)
		m.check(m.tree, dirs...)
		m.check(dirs[60], dirs[60], dirs[1])
	})
}

// Many mounts.
func TestMachineFortyMounts(t *testing.T) {
	onMachine(t, func(t *testing.T, m *machine) {
		var dirs []string
		for i := range 40 {
			dir := fmt.Sprintf("%s/group%d/mnt%d", m.tree, i%4, i)
			m.mkdir(dir)
			m.tmpfs(dir, "")
			dirs = append(dirs, dir)
		}
		m.fill(dirs...)
		o := m.check(m.tree, dirs...)
		t.Logf("set up in %v", o.Setup)
	})
}

// Renames and hard links across mounts are refused as on the host, also between two mounts of the
// same file system; mv copies.
func TestMachineAcrossMounts(t *testing.T) {
	onMachine(t, func(t *testing.T, m *machine) {
		one, two, three := m.tree+"/one", m.tree+"/two", m.tree+"/three"
		for _, dir := range []string{one, two, three} {
			m.mkdir(dir)
		}
		m.tmpfs(one, "")
		m.tmpfs(two, "")
		m.bind(one, three, 0)
		m.fill(one, two)
		const refused = `ln one/keep two/link; ln one/keep three/link; ln two/keep link; ln one/keep one/link && stat -c %h one/link && rm one/link`
		rename := `perl -e 'for ($ARGV[0], "three/moved") { print rename("one/keep", $_) ? "renamed" : "$!", "\n" }' two/moved`
		if _, err := exec.LookPath("perl"); err != nil {
			rename = ""
		}
		script := "(" + refused + "\n" + rename + ") 2>&1"
		want, _ := m.host(m.tree, script)
		must(t, unix.Utimes(one, []unix.Timeval{{Sec: 1}, {Sec: 1}}))
		if strings.Count(want, "Invalid cross-device link") < 3 {
			t.Fatalf("on the host: %s", want)
		}
		unchanged := m.watch()
		o := m.world(m.tree, script)
		if o.Stdout != want {
			t.Errorf("in a world:\n%s\non the host:\n%s", o.Stdout, want)
		}
		m.sameChanges(o)
		o = m.world(m.tree, `mv one/rename two/renamed && mv two/delete . && mv one/append /tmp/a`)
		m.expect(o, "- one/rename", "+ two/renamed", "- two/delete", "+ delete", "- one/append", "+ /tmp/a")
		unchanged()
	})
}

// Paths through symlinks and .. lead to the same place as on the host.
func TestMachineSymlinks(t *testing.T) {
	onMachine(t, func(t *testing.T, m *machine) {
		mnt := m.tree + "/mnt"
		m.mkdir(mnt)
		m.tmpfs(mnt, "")
		m.mkdir(mnt + "/sub")
		m.fill(mnt, mnt+"/sub")
		for name, target := range map[string]string{"rel": "mnt/sub", "abs": mnt, "mnt/back": "..", "mnt/tmp": "/tmp"} {
			must(t, os.Symlink(target, filepath.Join(m.tree, name)))
		}
		unchanged := m.watch()
		o := m.world(m.tree, `echo x > rel/a; echo x > abs/b; echo x > mnt/back/c; echo x > mnt/tmp/d; echo x > mnt/sub/../../mnt/e; cd rel; [ "$(pwd -P)" = "$1/sub" ]`, mnt)
		m.expect(o, "+ mnt/sub/a", "+ mnt/b", "+ c", "+ /tmp/d", "+ mnt/e")
		unchanged()
	})
}
