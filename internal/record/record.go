// Package record makes one span of one execution.
//
// [Recorder.Begin] writes the start line before the command runs, [Span.End] the complete line
// after it ended: exactly one of each, whatever happened in between. What a span holds is what an
// exact re-run needs; values of variables that nobody needs are stored as hashes only, and secrets
// go to the vault, a file beside the trace. A trace that cannot be written never keeps a command
// from running: there is one warning, and that is all. Running the command, and the file that the
// lines go to, are left to others.
package record

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"substrate/internal/config"
	"substrate/internal/logs"
	"substrate/internal/redact"
	"substrate/internal/vault"
	"substrate/trace"
)

// errNoPlace is the reason why nothing can be recorded without a home directory.
var errNoPlace = errors.New("no home directory; set SHIM_TRACE_LOG to record anyway")

// maxMB keeps the limit of a trace within int64.
const maxMB = 1 << 40

// UmaskUnknown asks Begin to find out the umask of this process.
const UmaskUnknown = -1

// Command is what is about to run, and how.
type Command struct {
	Component string // trace.ComponentShell …
	SpanID    string // "" for a new one; a world is named after its span before that begins
	Cmd       string // the raw command, as the user knows it
	Argv      []string
	Resolved  string // path of the program that a shim found; "" for none
	Shell     string // path of the shell, if one runs it
	ShellArgs []string
	Script    *trace.Script
	Cwd       string   // "" for the working directory of this process
	Umask     int      // UmaskUnknown for that of this process
	Env       []string // the environment that the command was given by its caller
	Name      string   // what the command's own children call it; "" for the base name of Shell or Argv[0]
	ReplayOf  string
}

// Recorder writes spans to one trace. It may be used by several goroutines.
type Recorder struct {
	cfg  config.Config
	warn func(error)

	mu     sync.Mutex
	writer *trace.Writer
	warned bool
}

// New makes a recorder for the trace that cfg names. The function warn is called at
// most once, with the reason why a line could not be written or the trace not be rotated; the
// command runs all the same (REC9).
func New(cfg config.Config, warn func(error)) *Recorder {
	return &Recorder{cfg: cfg, warn: warn}
}

// Span is a command that has begun.
type Span struct {
	recorder *Recorder
	record   trace.Record
	began    time.Time
	names    []string // call stack for the children, this command the last
	once     sync.Once
	secrets  redact.Redactor
}

// Begin writes the start line of c. The span is never nil.
func (r *Recorder) Begin(c Command) *Span {
	s := &Span{recorder: r, began: time.Now(), record: trace.Record{
		TS:        "",
		EventType: trace.EventStart,
		SessionID: r.cfg.SessionID,
		Component: c.Component,
		SpanID:    c.SpanID, ParentSpan: r.cfg.ParentSpan,
		Cmd: c.Cmd, Argv: c.Argv, ResolvedPath: c.Resolved, Shell: c.Shell, ShellArgs: c.ShellArgs, Script: c.Script,
		Cwd:     c.Cwd,
		Umask:   umask(c.Umask),
		AgentID: r.cfg.AgentID,
		Host:    hostName(),
		UID:     r.cfg.UID, GID: r.cfg.GID, PID: os.Getpid(),
		Depth: r.cfg.Depth, Caller: r.cfg.Caller, CallStack: r.cfg.CallStack,
		ReplayOf: c.ReplayOf,
	}}
	if s.record.SessionID == "" {
		s.record.SessionID = trace.NewSessionID()
	}
	if s.record.SpanID == "" {
		s.record.SpanID = trace.NewSpanID()
	}
	if s.record.Cwd == "" {
		s.record.Cwd = workingDir()
	}
	s.record.Env, s.record.EnvHashes = environment(c.Env, r.cfg.ShimDir)
	s.names = append(append([]string(nil), r.cfg.CallStack...), c.name())
	if !r.cfg.NoRedact {
		s.secrets.Variables(c.Env)
		vault.Redact(&s.secrets, &s.record)
		s.keepSecrets(0)
	}
	r.write(&s.record)
	return s
}

// keepSecrets puts the values that were taken out, but for the first known, into the vault. If it
// cannot, they are out of the trace all the same, and the command runs (REC9).
func (s *Span) keepSecrets(known int) {
	values := s.secrets.Values()
	s.record.Secrets = len(values)
	if len(values) == known || !s.recorder.hasPlace() {
		return
	}
	r := s.recorder
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := vault.Keep(r.cfg.Trace, s.record.SpanID, known+1, values[known:], r.cfg.Fsync); err != nil {
		r.warnOnce(fmt.Errorf("the secrets of this command could not be stored, so it cannot be replayed: %w", err))
	}
}

// hasPlace reports whether files may be put beside the trace. If that is no file, such as
// /dev/null, nothing is recorded, and its directory is nothing of ours.
func (r *Recorder) hasPlace() bool {
	if r.cfg.Trace == "" {
		return false
	}
	st, err := os.Stat(r.cfg.Trace)
	return err != nil || st.Mode().IsRegular()
}

// Mask takes the secrets of the span, and any others, out of a text about it.
func (s *Span) Mask(text string) string {
	if s.recorder.cfg.NoRedact {
		return text
	}
	return s.secrets.Text(text)
}

// Cmd is the command as the trace has it.
func (s *Span) Cmd() string { return s.record.Cmd }

// ID is the id of the span.
func (s *Span) ID() string { return s.record.SpanID }

// Elapsed is the time since the span began.
func (s *Span) Elapsed() time.Duration { return time.Since(s.began) }

// End writes the complete line. Only the first call counts, so that it can be deferred with what is
// true if nothing better becomes known. The lists of done may be nil. The result is what the trace
// has.
func (s *Span) End(done trace.Completion) trace.Completion {
	s.once.Do(func() {
		if done.ScopesUsed == nil {
			done.ScopesUsed = []string{}
		}
		if done.DegradedComponents == nil {
			done.DegradedComponents = []string{}
		}
		if !s.recorder.cfg.NoRedact {
			known := len(s.secrets.Values())
			vault.RedactEnd(&s.secrets, &done)
			s.keepSecrets(known)
		}
		s.record.EventType = trace.EventComplete
		s.record.Completion = &done
		s.recorder.write(&s.record)
	})
	return *s.record.Completion
}

// Finish writes a complete line that was made elsewhere.
func (r *Recorder) Finish(line []byte) {
	record, err := trace.Decode(line)
	if err != nil {
		r.Warn(err)
		return
	}
	r.write(record)
}

// Close closes the trace. A span that is still open may write after it all the same.
func (r *Recorder) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.writer == nil {
		return nil
	}
	return r.writer.Close()
}

// write appends one line. It tries again for each line, because a full disk may have
// been emptied while the command ran.
func (r *Recorder) write(line *trace.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.append(line); err != nil {
		r.warnOnce(fmt.Errorf("this command is not recorded: %w", err))
	}
}

// Warn tells the user, unless they were told something already.
func (r *Recorder) Warn(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.warnOnce(err)
}

// warnOnce passes on the first reason only. The lock is held.
func (r *Recorder) warnOnce(err error) {
	if !r.warned {
		r.warned = true
		r.warn(err)
	}
}

// append opens the trace if it is not open yet.
func (r *Recorder) append(line *trace.Record) error {
	if r.cfg.Trace == "" {
		return errNoPlace
	}
	if r.writer == nil {
		opt := trace.AppendOptions{
			Fsync: r.cfg.Fsync, MaxBytes: int64(min(r.cfg.MaxMB, maxMB)) << 20, Keep: r.cfg.Keep, Warn: r.warnOnce,
		}
		if r.cfg.Log != "" {
			opt.Observe = func(what string) { logs.For("trace").Info(what) }
		}
		w, err := trace.Open(r.cfg.Trace, opt)
		if err != nil {
			return err
		}
		r.writer = w
	}
	err := r.writer.Write(line)
	if r.cfg.Log != "" {
		logs.For("trace").Debug("append", "event", line.EventType, "span", line.SpanID, "file", r.cfg.Trace, "error", err)
	}
	return err
}

// hostName is the name of this machine. uname(2) is one system call where os.Hostname
// reads a file.
func hostName() string {
	var u syscall.Utsname
	if syscall.Uname(&u) != nil {
		return ""
	}
	name := make([]byte, 0, len(u.Nodename))
	for _, c := range u.Nodename { // int8 on one architecture, uint8 on another
		if c == 0 {
			break
		}
		name = append(name, byte(c))
	}
	return string(name)
}

// workingDir is the working directory; "" if it was removed.
func workingDir() string {
	dir, err := os.Getwd()
	if err != nil {
		return ""
	}
	return dir
}

// umask returns the form of the trace. It can only be asked for by setting it; in between,
// files that another thread makes get fewer rights and never more.
//
// Source: umask(2), NOTES.
func umask(known int) string {
	if known == UmaskUnknown {
		known = syscall.Umask(0o077)
		syscall.Umask(known)
	}
	return fmt.Sprintf("%04o", known)
}
