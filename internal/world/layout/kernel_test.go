package layout

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"substrate/internal/testenv"
	"substrate/internal/world/mount/mounttest"
)

// These tests build a machine out of real mounts, make a plan for it, enter the world and look at
// both sides. The machine is a process in namespaces of its own. The world is a child of it, which
// runs TestInsideWorld with the variables below.
const (
	envStore  = "LAYOUT_TEST_STORE"  // directory of the uppers; set only in the child
	envScript = "LAYOUT_TEST_SCRIPT" // what to run in the world
	envCwd    = "LAYOUT_TEST_CWD"
)

// TestInsideWorld is not a test but the child. It enters the world and executes the script.
func TestInsideWorld(t *testing.T) {
	store := os.Getenv(envStore)
	if store == "" {
		return
	}
	if err := enter(store); err != nil {
		fmt.Println("ENTER:", err)
		os.Exit(1) // nolint — this process is the first of a world, not a test
	}
}

// enter makes and applies the plan, moves into the world and executes the script.
func enter(store string) error {
	runtime.LockOSThread()
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	plan, err := Make(Input{
		MountInfo: text, FS: Host{}, User: os.Getuid() != 0, UID: os.Getuid(), GID: os.Getgid(), Cwd: os.Getenv(envCwd),
		Hide: []string{store}, EmptyDir: store + "/nothing", Empty: store + "/empty", Resolv: store + "/resolv", Place: placeIn(store),
	})
	if err != nil {
		return err
	}
	if err := plan.create(); err != nil {
		return err
	}
	describe := mounttest.List(plan.Mounts) + "\n" + strings.Join(plan.Notes, "\n") + "\n"
	if err := os.WriteFile(store+"/plan", []byte(describe), 0o600); err != nil {
		return err
	}
	stage := store + "/stage"
	if err := mounttest.Apply(stage, plan.Mounts); err != nil {
		return err
	}
	if err := unix.Chdir(stage); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return err
	}
	if err := unix.Chdir(os.Getenv(envCwd)); err != nil {
		return err
	}
	if socket, found := strings.CutPrefix(os.Getenv(envScript), connect); found {
		return connectTo(socket)
	}
	for c := range uintptr(41) { // as a world does before it executes the command
		_ = unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_LOWER, c, 0, 0)
	}
	return unix.Exec("/bin/sh", []string{"sh", "-c", os.Getenv(envScript)}, []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"})
}

// connect is the prefix of a script that is the path of a socket to connect to.
const connect = "connect "

func connectTo(socket string) error {
	c, err := net.Dial("unix", socket)
	if err != nil {
		fmt.Println("cannot connect")
		return nil
	}
	return c.Close()
}

// placeIn numbers the places in a directory.
func placeIn(store string) func(PlaceKind, int) string {
	names := map[PlaceKind]string{UpperDir: "upper", WorkDir: "work", ShadowDir: "shadow", CopyFile: "copy", UpperInMemory: "upper", WorkInMemory: "work"}
	return func(kind PlaceKind, n int) string { return fmt.Sprintf("%s/%s.%d", store, names[kind], n) }
}

// create makes what the plan needs on disk, as package view does.
func (p *Plan) create() error {
	for i := range p.Shadows {
		if err := p.Shadows[i].Create(); err != nil {
			return err
		}
	}
	for _, c := range p.Copies {
		if err := c.Create(); err != nil {
			return err
		}
	}
	for _, up := range p.Uppers {
		for _, dir := range []string{up.Dir, up.Work} {
			if err := os.Mkdir(dir, 0o700); err != nil {
				return err
			}
		}
		if err := os.Chown(up.Dir, up.UID, up.GID); err != nil {
			return err
		}
		if err := unix.Chmod(up.Dir, up.Mode); err != nil {
			return err
		}
	}
	return nil
}

// machine is a directory tree with many kinds of mounts in it.
type machine struct {
	t     *testing.T
	dir   string // the tree
	store string // for uppers; outside the tree
}

// newMachine builds the tree. The test runs as root in its own namespaces.
func newMachine(t *testing.T, uid int) *machine {
	t.Helper()
	temp, base := testenv.TempDir(t), "/srv"
	m := &machine{t: t}
	m.mount(temp, base, "", unix.MS_BIND, "") // so that the host's full /tmp need not be rebuilt
	t.Cleanup(func() { unix.Unmount(base, unix.MNT_DETACH) })
	m = &machine{t: t, dir: base + "/m", store: base + "/store"}
	for _, dir := range []string{
		"m", "store", "m/tmpfs", "m/src", "m/bind", "m/ro", "m/nested", "m/nested/in", "m/chroot/proc", "m/hang", "m/plain/sub", "m/own/mnt", "m/own/dir",
		"m/loop", "m/secret/mnt", "m/odd a:b,c\\d\n", "m/snap", "m/closed/x", "m/foreign/cwd",
	} {
		m.mkdir(base+"/"+dir, 0o777)
	}
	for _, name := range []string{"plain/a", "plain/sub/a", "src/a", "own/a", "own/dir/a", "filesrc", "file", "sockfile"} {
		m.write(name, "host\n")
	}
	m.mount("tmpfs", m.dir+"/tmpfs", "tmpfs", 0, "mode=1777")
	m.write("tmpfs/a", "host\n")
	m.mount(m.dir+"/src", m.dir+"/bind", "", unix.MS_BIND, "")
	m.mount("tmpfs", m.dir+"/ro", "tmpfs", 0, "mode=0777")
	m.write("ro/a", "host\n")
	m.mount("", m.dir+"/ro", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "")
	m.mount("tmpfs", m.dir+"/snap", "tmpfs", unix.MS_RDONLY, "")
	m.mount("tmpfs", m.dir+"/nested", "tmpfs", unix.MS_NOEXEC, "mode=0777")
	m.mkdir(m.dir+"/nested/in", 0o777)
	m.write("nested/a", "host\n")
	m.mount("tmpfs", m.dir+"/nested/in", "tmpfs", 0, "mode=0777")
	m.write("nested/in/a", "host\n")
	m.mount(m.dir+"/filesrc", m.dir+"/file", "", unix.MS_BIND, "")
	m.mount("proc", m.dir+"/chroot/proc", "proc", 0, "")
	m.mount("tmpfs", m.dir+"/own/mnt", "tmpfs", 0, "mode=0777")
	m.write("own/mnt/a", "host\n")
	m.mount("tmpfs", m.dir+"/secret/mnt", "tmpfs", 0, "mode=0777")
	m.mount("tmpfs", m.dir+"/odd a:b,c\\d\n", "tmpfs", 0, "mode=0777")
	m.write("odd a:b,c\\d\n/a", "host\n")
	m.silentFUSE()
	m.loop()
	for path, mode := range map[string]uint32{"": 0o755, "secret": 0o700, "closed": 0o700, "foreign": 0o755} {
		if err := unix.Chmod(m.dir+"/"+path, mode); err != nil {
			t.Fatal(err)
		}
	}
	must(t, errors.Join(os.WriteFile(m.store+"/empty", nil, 0o444), os.Mkdir(m.store+"/nothing", 0o555)))
	must(t, os.WriteFile(m.store+"/resolv", []byte("nameserver 10.250.0.1\n"), 0o444))
	m.mkdir(m.store+"/stage", 0o755)
	must(t, os.Symlink("dir/a", m.dir+"/own/link"))
	mine := []string{m.store, m.store + "/stage", m.dir + "/filesrc"}
	for _, dir := range append(writable, "loop") {
		mine = append(mine, m.dir+"/"+dir, m.dir+"/"+dir+"/a")
	}
	for _, path := range mine {
		must(t, os.Chown(path, uid, uid))
	}
	return m
}

// loop mounts an ext4 image if mkfs.ext4 is installed.
func (m *machine) loop() {
	image := filepath.Dir(m.dir) + "/image"
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		m.t.Log("no loop mount: mkfs.ext4 is not there")
		return
	}
	script := `truncate -s 4M "$1" && mkfs.ext4 -q "$1" && mount -o loop "$1" "$2" && chmod 1777 "$2"`
	if out, err := exec.Command("sh", "-c", script, "sh", image, m.dir+"/loop").CombinedOutput(); err != nil {
		m.t.Fatalf("loop mount: %v: %s", err, out)
	}
	m.write("loop/a", "host\n")
}

// silentFUSE mounts a FUSE file system without a server: whoever asks it anything hangs.
func (m *machine) silentFUSE() {
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		testenv.Skip(m.t, "needs /dev/fuse: "+err.Error())
	}
	m.t.Cleanup(func() { unix.Close(fd) })
	m.mount("silent", m.dir+"/hang", "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fd))
}

func (m *machine) mkdir(path string, mode uint32) {
	m.t.Helper()
	must(m.t, os.MkdirAll(path, 0o755))
	must(m.t, unix.Chmod(path, mode))
}

func (m *machine) write(name, text string) {
	m.t.Helper()
	must(m.t, os.WriteFile(m.dir+"/"+name, []byte(text), 0o666))
	must(m.t, unix.Chmod(m.dir+"/"+name, 0o666))
}

func (m *machine) mount(source, target, fstype string, flags uintptr, data string) {
	m.t.Helper()
	if err := unix.Mount(source, target, fstype, flags, data); err != nil {
		m.t.Fatalf("mount %s at %s: %v", fstype, target, err)
	}
}

// run runs a script in a world of the machine and returns its output.
func (m *machine) run(uid int, cwd, script string) string {
	m.t.Helper()
	for _, dir := range []string{"upper", "work", "shadow", "copy"} { // of the last world
		old, _ := filepath.Glob(m.store + "/" + dir + ".*")
		for _, path := range old {
			must(m.t, os.RemoveAll(path))
		}
	}
	const spaces = unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC
	attr := &syscall.SysProcAttr{Cloneflags: spaces}
	if uid != 0 {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
		attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid), NoSetGroups: true}
		for c := range uintptr(41) {
			attr.AmbientCaps = append(attr.AmbientCaps, c)
		}
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestInsideWorld$")
	cmd.Env = []string{envStore + "=" + m.store, envScript + "=" + script, envCwd + "=" + cwd}
	cmd.SysProcAttr = attr
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	must(m.t, cmd.Start())
	timer := time.AfterFunc(20*time.Second, func() { cmd.Process.Kill() })
	err := cmd.Wait()
	if !timer.Stop() {
		m.t.Fatal("the world hangs")
	}
	if strings.Contains(out.String(), "ENTER:") {
		plan, _ := os.ReadFile(m.store + "/plan")
		m.t.Fatalf("world: %v: %s\nplan:\n%s", err, out.String(), plan)
	}
	return out.String()
}

// files returns the contents of all files of the tree, without the FUSE mount.
func (m *machine) files() map[string]string {
	m.t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(m.dir, func(path string, e fs.DirEntry, err error) error {
		if path == m.dir+"/hang" || path == m.dir+"/chroot/proc" {
			return filepath.SkipDir
		}
		if err != nil {
			return err
		}
		st, err := Host{}.Lstat(path)
		if err != nil {
			return err
		}
		text := ""
		if e.Type().IsRegular() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text = string(b)
		}
		all[path] = fmt.Sprintf("%o %d:%d %d.%09d %q", st.Mode, st.UID, st.GID, st.MtimeSec, st.MtimeNsec, text)
		return nil
	})
	must(m.t, err)
	return all
}

// inUppers reports whether an upper has a file with this name and content.
func (m *machine) inUppers(name, text string) bool {
	m.t.Helper()
	matches, _ := filepath.Glob(m.store + "/upper.*")
	for _, upper := range matches {
		found := false
		_ = filepath.WalkDir(upper, func(path string, e fs.DirEntry, err error) error {
			if err == nil && e.Name() == name {
				b, _ := os.ReadFile(path)
				found = found || string(b) == text
			}
			return nil
		})
		if found {
			return true
		}
	}
	return false
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// writable are the directories of the machine that everybody may write to. Each has a file a.
var writable = []string{"plain", "plain/sub", "src", "bind", "tmpfs", "nested", "nested/in", "own", "own/dir", "own/mnt", "odd a:b,c\\d\n"}

// WLD1: all writes, under any mount, stay in the world, and the host's files do not change.
func TestWritesStayInTheWorld(t *testing.T) {
	for name, uid := range map[string]int{"root": 0, "user": testenv.UID} {
		t.Run(name, func(t *testing.T) {
			testenv.InRoot(t, func(t *testing.T) {
				m := newMachine(t, uid)
				before := m.files()
				var script strings.Builder
				script.WriteString("cd " + m.dir + "\n")
				for i, dir := range append(writable, "loop") {
					fmt.Fprintf(&script, "d='%s'; echo new%d > \"$d/new%d\" || echo cannot create in \"$d\"\n", dir, i, i)
					fmt.Fprintf(&script, "read x < \"$d/a\" && [ $x = host ] || echo cannot read in \"$d\"\n")
					fmt.Fprintf(&script, "echo more >> \"$d/a\" || echo cannot append in \"$d\"\n")
					fmt.Fprintf(&script, "rm \"$d/a\" || echo cannot delete in \"$d\"\n")
				}
				script.WriteString("echo changed > file || echo cannot write to a mounted file\n")
				if out := m.run(uid, m.dir, script.String()); out != "" {
					t.Errorf("in the world: %s", out)
				}
				after := m.files()
				for path, was := range before {
					if after[path] != was {
						t.Errorf("%s on the host: %s, was %s", path, after[path], was)
					}
				}
				if len(after) != len(before) {
					t.Errorf("the host's tree has %d files, had %d", len(after), len(before))
				}
				for i, dir := range append(writable, "loop") {
					if !m.inUppers(fmt.Sprintf("new%d", i), fmt.Sprintf("new%d\n", i)) {
						t.Errorf("what was written in %q is in no upper", dir)
					}
				}
				if copied, err := os.ReadFile(m.store + "/copy.0"); err != nil || string(copied) != "changed\n" {
					t.Errorf("copy of the mounted file = %q, %v", copied, err)
				}
			})
		})
	}
}

// remountReadOnly makes a mount of the machine read-only, but not its file system.
func (m *machine) remountReadOnly(name string) {
	m.t.Helper()
	m.mount("", m.dir+"/"+name, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "")
}
