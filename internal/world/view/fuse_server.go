package view

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"substrate/internal/world/mount"
)

// server is a process that serves one mount.
type server struct {
	path    string // of the mount
	process *os.Process
	log     *os.File // what it printed; it has no name
	ended   chan struct{}
	state   *os.ProcessState // once it has ended
	asked   atomic.Bool      // we kill it
}

// The descriptors of a server besides stdio.
const (
	serverDevice = 3
	serverLower  = 4
)

// fuseOptions of fuse-overlayfs. Without a cache of writes every byte is in the upper when write(2) returns, and times are those of the
// write. Nothing is synced: an upper that a power cut interrupts is thrown away anyway.
const fuseOptions = "writeback=0,fsync=0"

// start starts fuse-overlayfs for m. It gets the device as a descriptor, which libfuse takes for a file system that is mounted
// already, and the lower as another, since a path may hold what its options cannot.
//
// Source: libfuse lib/mount.c and lib/fuse_lowlevel.c, "/dev/fd/%u" (libfuse 3.3).
func (l *launcher) start(m *mount.Mount, device *os.File) (*server, error) {
	program, err := FuseProgram()
	if err != nil {
		return nil, err
	}
	lower, err := openServed(m, l.root)
	if err != nil {
		return nil, err
	}
	lowerFile := os.NewFile(uintptr(lower), m.Lower)
	defer lowerFile.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	fd, err := unix.MemfdCreate(fuseName, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	s := &server{path: m.Target, log: os.NewFile(uintptr(fd), fuseName), ended: make(chan struct{})}
	options := fmt.Sprintf("lowerdir=/proc/self/fd/%d,upperdir=%s,workdir=%s,%s", serverLower, escapeFuse(m.Upper), escapeFuse(m.Work), fuseOptions)
	s.process, err = l.fork(program, []string{fuseName, "-f", "-o", options, fmt.Sprintf("/dev/fd/%d", serverDevice)}, &os.ProcAttr{
		Dir: "/", Env: append([]string{"PATH=/usr/bin:/bin"}, l.env...), Files: []*os.File{null, s.log, s.log, device, lowerFile},
		Sys: serverAttr(l.root),
	})
	if err != nil {
		_ = s.log.Close()
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	go func() {
		s.state, _ = s.process.Wait() // it is our child, and nobody else waits for it
		close(s.ended)
	}()
	return s, nil
}

// openServed opens the directory that a server shows. The host may have removed it since the plan was made: the mount stands by now, and
// shows an empty one in its place.
func openServed(m *mount.Mount, root bool) (int, error) {
	const flags = unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC
	fd, err := openWithoutMounts(m.Lower, root)
	if errors.Is(err, unix.ENOENT) {
		empty := m.Work + "-none"
		if err := unix.Mkdir(empty, 0o700); err != nil {
			return -1, &os.PathError{Op: "mkdir", Path: empty, Err: err}
		}
		fd, err = unix.Open(empty, flags, 0)
	}
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: m.Lower, Err: err}
	}
	return fd, nil
}

// launcher is the thread that servers are forked from, with whose end they die.
type launcher struct {
	root bool
	env  []string // of the servers, besides PATH
	work chan func()
	quit sync.Once
}

// serverNeeds are the capabilities that root's servers keep. What they are asked to do they do with their own rights and not with
// the command's, so there is nothing among these that could reach past the upper, or mark a file so that it cannot be removed.
var serverNeeds = []int{
	unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH, unix.CAP_FOWNER, unix.CAP_FSETID, unix.CAP_MKNOD, unix.CAP_SETFCAP, unix.CAP_SYS_ADMIN,
}

// newLauncher starts the thread. root says whether the caller is root, as in [Request].
func newLauncher(root bool) *launcher {
	l := &launcher{root: root, work: make(chan func())}
	go func() {
		runtime.LockOSThread() // and never unlocked: what it gave up is gone with it
		if root {
			for c := range unix.CAP_LAST_CAP + 1 {
				if !slices.Contains(serverNeeds, c) {
					_ = unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0) // one that this kernel does not know
				}
			}
		}
		for f := range l.work {
			f()
		}
	}()
	return l
}

// fork starts a process from the launcher's thread.
func (l *launcher) fork(program string, argv []string, attr *os.ProcAttr) (p *os.Process, err error) {
	done := make(chan struct{})
	l.work <- func() {
		defer close(done)
		p, err = os.StartProcess(program, argv, attr)
	}
	<-done
	return p, err
}

// closeLauncher ends the thread, and with it what it forked. It may be called again.
func closeLauncher(l *launcher) { l.quit.Do(func() { close(l.work) }) }

// openWithoutMounts opens a directory for a server. What is mounted below is not to be seen through it: it has mounts of its own in the world, a
// bind mount would be two directories with one inode, which the program takes for the same, and a file system that hangs would hang the server.
// Only root may take a directory without that. The lowers of a user have no mounts below.
//
// Source: open_tree(2), OPEN_TREE_CLONE (Linux 5.2).
func openWithoutMounts(path string, root bool) (int, error) {
	if root {
		if fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC); err == nil {
			return fd, nil
		}
	}
	return unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}

// serverAttr lets a server die with the calling thread. A group of its own keeps the terminal's signals from it.
//
// A user's server gets a user namespace in which it may do everything to the caller's files and nothing to those of others, as
// the kernel's overlay does with the rights of who mounted it: an upper has directories that the world shows as not writable.
//
// Source: overlayfs.rst, "Permission model"; capabilities(7), "Ambient".
func serverAttr(root bool) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if !root {
		uid, gid := os.Geteuid(), os.Getegid()
		attr.Cloneflags = unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
		attr.AmbientCaps = []uintptr{unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH, unix.CAP_FOWNER, unix.CAP_FSETID, unix.CAP_CHOWN}
	}
	return attr
}

// escapeFuse writes a path as an option of libfuse. The caller's paths hold no colon, which has no escape before fuse-overlayfs 1.15.
//
// Source: libfuse lib/fuse_opt.c, process_opt_sep_arg.
var fuseEscaper = strings.NewReplacer(`\`, `\\`, `,`, `\,`)

func escapeFuse(path string) string { return fuseEscaper.Replace(path) }

// patience bounds the wait for all servers of a world whose file systems nobody uses any more.
const patience = 10 * time.Second

// wait waits for the server's end, until the deadline at most. The note says so if it did not end as it should.
func (s *server) wait(deadline time.Time) string {
	select {
	case <-s.ended:
		if !s.asked.Load() && !s.state.Success() {
			return fmt.Sprintf("%s, which served %s, ended too early (%s): the command may have met errors, and its changes may be incomplete", fuseName, s.path, s.state)
		}
		return ""
	case <-time.After(max(time.Until(deadline), 10*time.Millisecond)):
		kill(s)
		return fmt.Sprintf("%s, which served %s, did not end and was killed: its last changes may be missing", fuseName, s.path)
	}
}

// kill ends the server and waits for it. It may be called again.
func kill(s *server) {
	s.asked.Store(true)
	_ = s.process.Kill()
	<-s.ended
	_ = s.log.Close()
}

// moment is what a process may need to end whose file system is gone.
const moment = 200 * time.Millisecond

// failure is what a server said that has ended, on one line.
func (s *server) failure() string {
	select {
	case <-s.ended:
	case <-time.After(moment):
		return ""
	}
	text := fmt.Sprintf("%s for %s: %s", fuseName, s.path, s.state)
	if _, err := s.log.Seek(0, io.SeekStart); err != nil {
		return text
	}
	said, err := io.ReadAll(io.LimitReader(s.log, 2000))
	if err != nil {
		return text
	}
	for line := range strings.Lines(string(said)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "unknown argument ignored") {
			text += "; " + line
		}
	}
	return text
}
