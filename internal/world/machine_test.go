package world

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"substrate/fsdiff"
	"substrate/internal/testenv"
)

// The tests in machine_*_test.go build a machine out of real mounts and run commands in worlds of
// it. Root builds it in namespaces of its own, with its own /home, /tmp and /run, so that nothing
// can be left on the host. The worlds belong to root or to an ordinary user, who makes a user
// namespace.

// machine is one of these machines. Its tree is a home directory on the disk.
type machine struct {
	t     *testing.T
	uid   int
	disk  string // directory on the host's disk, seen at /home
	home  string // /home/tester, of the user's
	tree  string // home/tree: working directory, unless a test takes another
	dirs  Dirs
	mute  []string // mounts that must not be asked anything
	leaks bool     // testenv.Leaks has been called

	program []byte // the program under test, where there is one
}

// onMachine runs body on a machine with worlds of root, and on one with worlds of an ordinary user.
func onMachine(t *testing.T, body func(t *testing.T, m *machine)) {
	t.Helper()
	t.Run("root", func(t *testing.T) {
		testenv.InRoot(t, func(t *testing.T) { body(t, newMachine(t, 0)) })
	})
	t.Run("user", func(t *testing.T) {
		testenv.NeedRoot(t)
		testenv.NeedUserns(t)
		testenv.InRoot(t, func(t *testing.T) { body(t, newMachine(t, testenv.UID)) })
	})
}

// newMachine makes the machine. The caller is root in a mount namespace of its own.
func newMachine(t *testing.T, uid int) *machine {
	t.Helper()
	m := &machine{t: t, uid: uid, disk: testenv.TempDir(t), home: "/home/tester"}
	m.tree = m.home + "/tree"
	if path := os.Getenv(programVar); path != "" {
		var err error
		m.program, err = os.ReadFile(path)
		must(t, err)
	}
	must(t, unix.Mount(m.disk, "/home", "", unix.MS_BIND, ""))
	m.tmpfs("/run", "mode=0755")
	m.tmpfs("/tmp", "mode=1777")
	run := fmt.Sprintf("/run/user/%d", uid)
	for _, dir := range []string{"/run/netns", m.home, m.tree, m.home + "/.local"} {
		m.mkdir(dir)
	}
	must(t, os.MkdirAll(run, 0o755))
	must(t, os.Chown(run, uid, uid))
	m.dirs = Dirs{Run: []string{run + "/substrate"}, Overlay: []string{m.home + "/.local/state/substrate/overlay"}}
	t.Cleanup(func() {
		for _, dir := range []string{"/tmp", "/run", "/home"} {
			for unix.Unmount(dir, unix.MNT_DETACH) == nil { // all that the test has put there
			}
		}
	})
	return m
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// mkdir makes a directory of the user's.
func (m *machine) mkdir(dir string) {
	m.t.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil && !os.IsExist(err) {
		if !os.IsNotExist(err) {
			m.t.Fatal(err)
		}
		m.mkdir(filepath.Dir(dir))
		must(m.t, os.Mkdir(dir, 0o755))
	}
	if strings.HasPrefix(dir, m.home) {
		must(m.t, os.Chown(dir, m.uid, m.uid))
	}
}

// write makes a file of the user's.
func (m *machine) write(path, text string) {
	m.t.Helper()
	must(m.t, os.WriteFile(path, []byte(text), 0o644))
	must(m.t, os.Chown(path, m.uid, m.uid))
}

// tmpfs mounts one and gives it to the user if it is in their home.
func (m *machine) tmpfs(dir, data string) {
	m.t.Helper()
	must(m.t, unix.Mount("tmpfs", dir, "tmpfs", 0, data))
	if strings.HasPrefix(dir, m.home) {
		must(m.t, os.Chown(dir, m.uid, m.uid))
	}
}

// bind mounts source at target, with flags.
func (m *machine) bind(source, target string, flags uintptr) {
	m.t.Helper()
	must(m.t, unix.Mount(source, target, "", unix.MS_BIND, ""))
	if flags != 0 {
		must(m.t, unix.Mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|flags, ""))
	}
}

// request is what a supervisor is to run.
type request struct {
	Name  string
	Cwd   string
	Upper string
	Dirs  Dirs
	Argv  [][]byte // JSON strings would not keep all bytes
	Env   []string
	Root  bool
}

// outcome is how a request ended.
type outcome struct {
	Err      string // of New or Run
	CloseErr string
	Exit     int
	Diff     *fsdiff.Diff
	Degraded []Degradation
	Setup    time.Duration // from before New to the start of the command

	Stdout, Stderr string `json:"-"`
}

// Descriptors of a supervisor.
const (
	fdRequest = 3 + iota
	fdOutcome
	fdStdout
	fdStderr
)

// supervise is set in the environment of a supervisor.
const supervise = "SUBSTRATE_TEST_SUPERVISE"

// TestSupervisor is not a test: it is the process that runs a world on a machine, as its owner.
func TestSupervisor(t *testing.T) {
	if os.Getenv(supervise) == "" {
		return
	}
	var q request
	must(t, json.NewDecoder(os.NewFile(fdRequest, "request")).Decode(&q))
	stdout, stderr := os.NewFile(fdStdout, "stdout"), os.NewFile(fdStderr, "stderr")
	var o outcome
	var argv []string
	for _, arg := range q.Argv {
		argv = append(argv, string(arg))
	}
	begin := time.Now()
	w, err := New(Spec{Name: q.Name, Cwd: q.Cwd, Upper: q.Upper, Dirs: q.Dirs, Root: q.Root})
	if err == nil {
		var res *Result
		res, err = w.Run(Command{Path: argv[0], Argv: argv, Dir: q.Cwd, Env: q.Env, Umask: 0o22, Stdout: stdout, Stderr: stderr})
		if res != nil {
			o.Exit, o.Diff, o.Degraded, o.Setup = res.Exit, res.Diff, res.Degraded, res.Started.Sub(begin)
		}
		if err := w.Close(); err != nil {
			o.CloseErr = err.Error()
		}
	}
	if err != nil {
		o.Err = err.Error()
	}
	must(t, json.NewEncoder(os.NewFile(fdOutcome, "outcome")).Encode(o))
}

// patience is how long a world may take on a busy machine before a test calls it hanging.
const patience = 30 * time.Second

// owner returns the process attributes of the machine's user.
func (m *machine) owner() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if m.uid != 0 {
		attr.Credential = &syscall.Credential{Uid: uint32(m.uid), Gid: uint32(m.uid)}
	}
	return attr
}

// world runs a shell script in a world; args are its $1, $2 … It checks that cwd and the whole home
// stay as they were.
func (m *machine) world(cwd, script string, args ...string) outcome {
	m.t.Helper()
	return m.ask(request{Cwd: cwd}, script, args...)
}

// ask is world with a request that is filled in partly.
func (m *machine) ask(q request, script string, args ...string) outcome {
	m.t.Helper()
	if q.Root = m.uid == 0; q.Name == "" {
		q.Name = "spn_" + randomName()
	}
	for _, arg := range append([]string{"/bin/sh", "-c", script, "sh"}, args...) {
		q.Argv = append(q.Argv, []byte(arg))
	}
	q.Env = append(m.env(), "PWD="+q.Cwd)
	if q.Dirs.Run == nil {
		q.Dirs.Run = m.dirs.Run
	}
	if q.Dirs.Overlay == nil {
		q.Dirs.Overlay = m.dirs.Overlay
	}
	text, err := json.Marshal(q)
	must(m.t, err)
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestSupervisor$")
	cmd.Dir, cmd.Env, cmd.SysProcAttr = "/", append(os.Environ(), supervise+"=1", "HOME="+m.home), m.owner()
	for i := range 4 {
		cmd.ExtraFiles = append(cmd.ExtraFiles, memfile(m.t, fmt.Sprint("fd", i+fdRequest)))
	}
	_, err = cmd.ExtraFiles[0].WriteAt(text, 0)
	must(m.t, err)
	out, _ := m.wait(cmd)
	var o outcome
	answer := content(m.t, cmd.ExtraFiles[fdOutcome-fdRequest])
	o.Stdout, o.Stderr = content(m.t, cmd.ExtraFiles[fdStdout-fdRequest]), content(m.t, cmd.ExtraFiles[fdStderr-fdRequest])
	for _, f := range cmd.ExtraFiles {
		must(m.t, f.Close())
	}
	if err := json.Unmarshal([]byte(answer), &o); err != nil {
		m.t.Fatalf("the supervisor has no answer: %v\n%s", err, out)
	}
	return o
}

// env is the environment of commands.
func (m *machine) env() []string {
	return []string{"PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL=C.UTF-8", "HOME=" + m.home}
}

// wait runs cmd, at most as long as patience.
func (m *machine) wait(cmd *exec.Cmd) (string, int) {
	m.t.Helper()
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	must(m.t, cmd.Start())
	timer := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	_ = cmd.Wait()
	if !timer.Stop() {
		m.t.Fatalf("%v hangs\n%s", cmd.Args, out.String())
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// host runs a script as the user on the machine itself.
func (m *machine) host(cwd, script string, args ...string) (string, int) {
	m.t.Helper()
	cmd := exec.Command("/bin/sh", append([]string{"-c", script, "sh"}, args...)...)
	cmd.Dir, cmd.Env, cmd.SysProcAttr = cwd, append(m.env(), "PWD="+cwd), m.owner()
	return m.wait(cmd)
}

// memfile is an anonymous file.
func memfile(t *testing.T, name string) *os.File {
	t.Helper()
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	must(t, err)
	return os.NewFile(uintptr(fd), name)
}

func content(t *testing.T, f *os.File) string {
	t.Helper()
	info, err := f.Stat()
	must(t, err)
	text := make([]byte, info.Size())
	_, err = f.ReadAt(text, 0)
	must(t, err)
	return string(text)
}

// randomName gives the worlds of test runs different names: their cgroups lie in the same place.
func randomName() string {
	var b [8]byte
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return hex.EncodeToString(b[:])
}

// marks are the signs of a report (RPL6).
var marks = map[fsdiff.Kind]string{fsdiff.Create: "+", fsdiff.Modify: "~", fsdiff.Delete: "-", fsdiff.TypeChange: "!"}

// changes are the lines of a diff, sorted.
func (o outcome) changes() []string {
	if o.Diff == nil {
		return []string{"no diff"}
	}
	var lines []string
	for _, e := range o.Diff.Entries {
		lines = append(lines, marks[e.Kind]+" "+e.Raw())
	}
	slices.Sort(lines)
	return lines
}

// expect checks that the command succeeded, printed nothing and changed exactly what want says.
func (m *machine) expect(o outcome, want ...string) {
	m.t.Helper()
	if o.Err != "" || o.Exit != 0 || o.CloseErr != "" || o.Stdout+o.Stderr != "" {
		m.t.Errorf("error %q, exit %d, at the end %q, printed %q %q", o.Err, o.Exit, o.CloseErr, o.Stdout, o.Stderr)
	}
	m.sameChanges(o, want...)
}

// sameChanges checks the diff alone.
func (m *machine) sameChanges(o outcome, want ...string) {
	m.t.Helper()
	m.t.Logf("degraded: %+v", o.Degraded)
	want = append([]string(nil), want...)
	slices.Sort(want)
	got := o.changes()
	for _, line := range want {
		if !slices.Contains(got, line) {
			m.t.Errorf("the diff lacks %q", line)
		}
	}
	for i, line := range got {
		if !slices.Contains(want, line) || i > 0 && got[i-1] == line {
			m.t.Errorf("the diff has %q", line)
		}
	}
}

// watch records the state of the machine. The returned function checks that it is the same and that
// nothing is left over. The test must not mount anything in between.
func (m *machine) watch() func() {
	m.t.Helper()
	if !m.leaks {
		m.leaks = true
		testenv.Leaks(m.t)
	}
	before := m.files()
	return func() {
		m.t.Helper()
		after := m.files()
		for path, was := range before {
			if after[path] != was {
				m.t.Errorf("%q on the host is now %s, was %s", path, after[path], was)
			}
		}
		for path, is := range after {
			if before[path] == "" {
				m.t.Errorf("%q is new on the host: %s", path, is)
			}
		}
		m.nothingLeft()
	}
}

// nothingLeft checks that no world has left its state or its upper.
func (m *machine) nothingLeft() {
	m.t.Helper()
	for _, dir := range append([]string{m.dirs.Run[0] + "/worlds"}, m.dirs.Overlay...) {
		entries, err := os.ReadDir(dir)
		if err != nil && !os.IsNotExist(err) {
			m.t.Error(err)
		}
		for _, e := range entries {
			m.t.Errorf("left behind: %s/%s", dir, e.Name())
		}
	}
}

// files describes all files that a command could have changed, with their content.
func (m *machine) files() map[string]string {
	m.t.Helper()
	all := map[string]string{}
	for _, top := range []string{"/home", "/tmp"} {
		must(m.t, filepath.WalkDir(top, func(path string, e fs.DirEntry, err error) error {
			if slices.Contains(m.mute, path) || path == m.home+"/.local" {
				return filepath.SkipDir
			}
			if err != nil {
				return err
			}
			all[path] = describe(m.t, path)
			if len(all[path]) == 0 {
				return fmt.Errorf("%s vanished", path)
			}
			return nil
		}))
	}
	return all
}

// describe returns everything about a file but its atime.
func describe(t *testing.T, path string) string {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Lstat(path, &st))
	text, target := "", ""
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		b, err := os.ReadFile(path)
		must(t, err)
		text = string(b)
	case unix.S_IFLNK:
		var err error
		target, err = os.Readlink(path)
		must(t, err)
	}
	names := make([]byte, 4096)
	n, _ := unix.Llistxattr(path, names)
	return fmt.Sprintf("%o %d:%d links %d mtime %d.%09d %q -> %q %q", st.Mode, st.Uid, st.Gid, st.Nlink,
		st.Mtim.Sec, st.Mtim.Nsec, text, target, names[:max(n, 0)])
}

// fill puts the files into directories that alter needs.
func (m *machine) fill(dirs ...string) {
	m.t.Helper()
	for _, dir := range dirs {
		for _, name := range []string{"append", "delete", "rename", "keep"} {
			m.write(dir+"/"+name, name+"\n")
		}
	}
}

// alter is a script that creates, appends to, deletes and renames a file in each of the directories
// that are its arguments, reads another one, and prints what went wrong.
const alter = `for d; do
	echo new > "$d/new" || echo "cannot create in $d"
	echo more >> "$d/append" && [ "$(cat "$d/append")" = "append
more" ] || echo "cannot append in $d"
	rm "$d/delete" || echo "cannot delete in $d"
	mv "$d/rename" "$d/renamed" && [ "$(cat "$d/renamed")" = rename ] || echo "cannot rename in $d"
	[ "$(cat "$d/keep")" = keep ] || echo "cannot read in $d"
done
`

// altered is the diff of alter below cwd.
func altered(cwd string, dirs ...string) []string {
	var lines []string
	for _, dir := range dirs {
		if dir == cwd {
			dir = ""
		} else {
			dir = strings.TrimPrefix(dir, cwd+"/") + "/"
		}
		for _, line := range []string{"+ new", "~ append", "- delete", "- rename", "+ renamed"} {
			lines = append(lines, line[:2]+dir+line[2:])
		}
	}
	return lines
}

// check runs alter on dirs in a world and checks everything.
func (m *machine) check(cwd string, dirs ...string) outcome {
	m.t.Helper()
	unchanged := m.watch()
	o := m.world(cwd, alter+`[ "$(pwd)" = "$PWD" ] && [ "$(pwd -P)" = "$PWD" ] && [ "$(readlink /proc/self/cwd)" = "$PWD" ] || echo "pwd is $(pwd), $(pwd -P)"`, dirs...)
	m.expect(o, altered(cwd, dirs...)...)
	unchanged()
	return o
}
