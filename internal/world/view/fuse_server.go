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
	log     *os.File // what it printed; the file has no name
	ended   chan struct{}
	state   *os.ProcessState // once it has ended
	asked   atomic.Bool      // we killed it
}

// The descriptors of a server after standard error.
const (
	serverDevice = 3
	serverLower  = 4
)

// fuseOptions are options of fuse-overlayfs. Without a write cache every byte is in the upper when
// write(2) returns, with the right time. Nothing is synced: after a power cut the upper is not
// used.
const fuseOptions = "writeback=0,fsync=0"

// start starts fuse-overlayfs for m. The server gets the device as a descriptor; libfuse then
// assumes that the file system is mounted already. It also gets the lower as a descriptor, because
// not every path fits into its options.
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

// openServed opens the directory that a server shows. If the host has removed it since the plan was
// made, it opens an empty one instead: it is too late to leave the mount out.
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

// launcher is the thread that starts the servers. They die when it ends.
type launcher struct {
	root bool
	env  []string // of the servers, without PATH
	work chan func()
	quit sync.Once
}

// serverNeeds are the capabilities that root's servers keep. A server uses its own rights for the
// command, so none of these may reach past the upper or make a file that cannot be removed.
var serverNeeds = []int{
	unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH, unix.CAP_FOWNER, unix.CAP_FSETID, unix.CAP_MKNOD, unix.CAP_SETFCAP, unix.CAP_SYS_ADMIN,
}

// newLauncher starts the thread. root is as in [Request].
func newLauncher(root bool) *launcher {
	l := &launcher{root: root, work: make(chan func())}
	go func() {
		runtime.LockOSThread() // never unlocked: the thread has lost its capabilities for good
		if root {
			for c := range unix.CAP_LAST_CAP + 1 {
				if !slices.Contains(serverNeeds, c) {
					_ = unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0) // the kernel may not know it
				}
			}
		}
		for f := range l.work {
			f()
		}
	}()
	return l
}

// fork starts a process from the thread of the launcher.
func (l *launcher) fork(program string, argv []string, attr *os.ProcAttr) (p *os.Process, err error) {
	done := make(chan struct{})
	l.work <- func() {
		defer close(done)
		p, err = os.StartProcess(program, argv, attr)
	}
	<-done
	return p, err
}

// closeLauncher ends the thread and the servers. It is safe to call twice.
func closeLauncher(l *launcher) { l.quit.Do(func() { close(l.work) }) }

// openWithoutMounts opens a directory for a server, without what is mounted below it. Those mounts
// have mounts of their own in the world. A bind mount would show two directories with one inode,
// which the program takes for the same, and a file system that hangs would block the server. Only
// root may open a directory that way; the lowers of a user have no mounts below.
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

// serverAttr makes a server die with the calling thread. It gets its own process group, so the
// terminal sends it no signals.
//
// A user's server gets a user namespace in which it has all rights to the caller's files and none
// to those of others. The kernel's overlay does the same with the rights of the process that
// mounted it: an upper has directories that the world shows as read-only.
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

// escapeFuse writes a path as an option of libfuse. The caller's paths have no colon:
// fuse-overlayfs before 1.15 cannot escape it.
//
// Source: libfuse lib/fuse_opt.c, process_opt_sep_arg.
var fuseEscaper = strings.NewReplacer(`\`, `\\`, `,`, `\,`)

func escapeFuse(path string) string { return fuseEscaper.Replace(path) }

// patience limits how long Diff waits for all servers of a world.
const patience = 10 * time.Second

// wait waits for the end of the server, until deadline at most. It returns a note if the server did
// not end well.
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

// kill kills the server and waits for it. It is safe to call twice.
func kill(s *server) {
	s.asked.Store(true)
	_ = s.process.Kill()
	<-s.ended
	_ = s.log.Close()
}

// moment is how long a process may take to end after its file system is gone.
const moment = 200 * time.Millisecond

// failure returns the output of a server that has ended, on one line.
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
