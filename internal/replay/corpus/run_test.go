package corpus

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// runLimit is how long one run may take before it counts as hung.
const runLimit = 30 * time.Second

// outcome is the visible result of a run.
type outcome struct {
	stdout, stderr []byte
	status         int // 128+n if signal n ended it
}

// umaskLock protects the umask, which belongs to the whole test process, while a process is started
// with another one.
var umaskLock sync.RWMutex

// process is one program to start.
type process struct {
	path  string
	argv  []string
	env   []string
	dir   string
	stdin string // a file
	umask int    // -1 for the runner's
	attr  *syscall.SysProcAttr
	owner *identity // of the pipes
}

// run starts the process, collects its output and waits until it ends.
func (p process) run() (outcome, error) {
	stdin, err := os.Open(p.stdin)
	if err != nil {
		return outcome{}, err
	}
	defer stdin.Close()
	stdout, err := newSink(p.owner)
	if err != nil {
		return outcome{}, err
	}
	stderr, err := newSink(p.owner)
	if err != nil {
		return outcome{}, err
	}
	cmd := &exec.Cmd{
		Path: p.path, Args: p.argv, Env: p.env, Dir: p.dir,
		Stdin: stdin, Stdout: stdout.w, Stderr: stderr.w, SysProcAttr: p.attr,
	}
	err = p.start(cmd)
	stdout.collect()
	stderr.collect()
	if err != nil {
		return outcome{}, err
	}
	timer := time.AfterFunc(runLimit, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	err = cmd.Wait()
	if !timer.Stop() {
		return outcome{}, fmt.Errorf("hung for %v", runLimit)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return outcome{}, err
	}
	out := outcome{stdout: stdout.bytes(), stderr: stderr.bytes(), status: cmd.ProcessState.ExitCode()}
	if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signaled() {
		out.status = 128 + int(ws.Signal())
	}
	if out.stdout == nil || out.stderr == nil {
		return outcome{}, errors.New("the output is still held open after the end")
	}
	return out, nil
}

// start starts the process with the wanted umask.
func (p process) start(cmd *exec.Cmd) error {
	if p.umask < 0 {
		umaskLock.RLock()
		defer umaskLock.RUnlock()
		return cmd.Start()
	}
	umaskLock.Lock()
	defer umaskLock.Unlock()
	defer syscall.Umask(syscall.Umask(p.umask))
	return cmd.Start()
}

// sink is a pipe with a reader. Its write end is in blocking mode, as a shell's is. It belongs to
// the identity of the run, so that the command can open /dev/stdout again.
type sink struct {
	r, w *os.File
	done chan []byte
}

func newSink(owner *identity) (*sink, error) {
	var fds [2]int
	if err := syscall.Pipe2(fds[:], syscall.O_CLOEXEC); err != nil {
		return nil, err
	}
	s := &sink{r: os.NewFile(uintptr(fds[0]), "pipe"), w: os.NewFile(uintptr(fds[1]), "pipe"), done: make(chan []byte, 1)}
	if owner.switched {
		if err := syscall.Fchown(fds[1], owner.uid, owner.gid); err != nil {
			return nil, errors.Join(err, s.r.Close(), s.w.Close())
		}
	}
	return s, nil
}

// collect closes our copy of the write end and reads until all other copies are closed.
func (s *sink) collect() {
	s.w.Close()
	go func() {
		defer s.r.Close()
		var b bytes.Buffer
		_, _ = io.Copy(&b, s.r)
		s.done <- append([]byte{}, b.Bytes()...)
	}()
}

// bytes returns what was read, or nil if a process still has the pipe open long after the end.
func (s *sink) bytes() []byte {
	select {
	case b := <-s.done:
		return b
	case <-time.After(10 * time.Second):
		return nil
	}
}

// environment returns the variables of every run: exactly those that a replay restores (RPL3).
func (p *place) environment() []string {
	env := []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + p.home(), "SHELL=/bin/bash",
		"USER=" + p.id.name, "LOGNAME=" + p.id.name, "LANG=C.UTF-8", "TERM=dumb", "TZ=UTC0",
	}
	for _, add := range p.s.env {
		name, _, _ := strings.Cut(add, "=")
		kept := env[:0]
		for _, old := range env {
			if !strings.HasPrefix(old, name+"=") {
				kept = append(kept, old)
			}
		}
		env = append(kept, add)
	}
	return env
}

// ours adds the variables that substrate needs. Recorded commands see them.
func (p *place) ours() []string {
	return append(p.environment(), "SHIM_TRACE_LOG="+p.trace(), "SUBSTRATE_NO_SHIMS=1")
}

// callers returns the environment in which a replay is started. The command must see only what was
// recorded.
func (p *place) callers() []string {
	return append(p.ours(), "XDG_STATE_HOME="+p.id.base+"/state", "XDG_RUNTIME_DIR="+p.id.base+"/run",
		"PATH=/usr/bin:/bin", "LANG=C", "LC_TIME=POSIX", "TERM=other", "TZ=EST5", "USER=caller",
		"CALLERS_OWN=1", "BASH_ENV=/no/such/file", "SHELLOPTS=xtrace", "SHLVL=7")
}

// shellWords returns the arguments for the shell, or for substrate, which takes the same.
func (s *snippet) shellWords() []string {
	words := append([]string{}, s.flags...)
	if !s.bringsC() {
		words = append(words, "-c")
	}
	return append(append(words, s.cmd), s.args...)
}

// bringsC reports whether one of the flags contains a c.
func (s *snippet) bringsC() bool {
	for _, f := range s.flags {
		if strings.HasPrefix(f, "-") && !strings.HasPrefix(f, "--") && strings.Contains(f, "c") {
			return true
		}
	}
	return false
}

// plain runs the snippet in bash, without substrate.
func (p *place) plain() (outcome, error) {
	return p.process("/bin/bash", append([]string{"bash"}, p.s.shellWords()...), p.environment()).run()
}

// recorded runs the snippet through substrate -c.
func (p *place) recorded(bin string) (outcome, error) {
	return p.process(bin, append([]string{"substrate"}, p.s.shellWords()...), p.ours()).run()
}

// replayed replays the recorded span. It starts in another directory, with another umask and other
// variables, since the replay must set its own.
func (p *place) replayed(bin, span, mode string) (outcome, error) {
	argv := []string{"substrate", "--replay", span, mode, "--no-report"}
	if p.s.stdin != nil {
		argv = append(argv, "--stdin", p.stdinPath())
	}
	proc := p.process(bin, argv, p.callers())
	proc.dir, proc.stdin, proc.umask = "/", os.DevNull, 0o027
	return proc.run()
}

func (p *place) process(path string, argv, env []string) process {
	return process{
		path: path, argv: argv, env: env, dir: p.cwd(), stdin: p.stdinPath(),
		umask: p.s.umask, attr: p.id.attr(), owner: p.id,
	}
}
