package rerun

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"

	"substrate/internal/config"
	"substrate/internal/procstate"
	"substrate/internal/replay"
	"substrate/internal/world"
	"substrate/trace"
)

// BatchOptions say which spans [Many] replays, and how.
type BatchOptions struct {
	Settings
	Config   config.Config
	Env      []string // as in [replay.Options]
	Environ  []string // of the caller
	Reader   *trace.Reader
	Span     string       // replay this one only; "" for those that Filter and Sessions choose
	Filter   trace.Filter // of the spans
	Sessions []string     // ids of sessions or beginnings of them, any of which may fit; none for all
	Jobs     int          // how many replays run at once; 0 for one for each processor
	Times    int          // how often each span is replayed

	Progress func(done, all, bad int) // called after each span
}

// batch is one call of [Many].
type batch struct {
	BatchOptions
	rows []*replay.BatchSpan

	mu    sync.Mutex
	pids  map[int]bool // the replays that run just now
	ended os.Signal    // what ended the batch; nil while it goes on
}

// Many replays many spans, oldest first, each in a process of its own and with --world in a world
// of its own. A bad span never stops the others: it is skipped or failed. A signal that would end
// the program ends the replays that run, and lets no other begin; it is returned.
//
// A process of its own is needed because a [Run] takes signals, umask and all children of its
// process for its own. It also has a process group of its own, so that none takes the terminal.
//
// The error, if the spans cannot be read, may be a [*replay.Error].
func Many(o BatchOptions) (replay.Batch, os.Signal, error) {
	b := &batch{BatchOptions: o, pids: map[int]bool{}}
	if err := b.choose(); err != nil {
		return replay.Batch{}, nil, err
	}
	sigs := make(chan os.Signal, 8)
	for _, s := range world.Forwarded {
		if !signal.Ignored(s) && !procstate.IsIgnored(s.(syscall.Signal)) {
			signal.Notify(sigs, s)
		}
	}
	defer signal.Stop(sigs)
	quit := make(chan struct{})
	defer close(quit)
	go func() {
		for {
			select {
			case s := <-sigs:
				b.stop(s.(syscall.Signal))
			case <-quit:
				return
			}
		}
	}()
	stopped := b.run()
	return replay.NewBatch(b.rows), stopped, nil
}

// choose collects the spans, oldest first, and decides which of them cannot be replayed.
func (b *batch) choose() error {
	if b.Span != "" {
		span, err := replay.Target(b.Reader, b.Span)
		if err != nil {
			return err
		}
		b.rows = []*replay.BatchSpan{b.row(span)}
		return nil
	}
	if len(b.Sessions) == 1 {
		b.Filter.Session = b.Sessions[0]
	}
	err := b.Reader.Spans(b.Filter, func(s *trace.Span) bool {
		if b.included(s) {
			b.rows = append(b.rows, b.row(*s.Last()))
		}
		return true
	})
	slices.Reverse(b.rows)
	return replay.LookupError(err)
}

// included reports whether somebody gave the command of a span to us: it is not a part of another
// one, as those of shims are, not a replay, and not what runs just now.
func (b *batch) included(s *trace.Span) bool {
	r := s.Last()
	if r.SpanID == "" || r.Component == trace.ComponentShim || r.Component == trace.ComponentReplay || s.Incomplete() && r.SpanID == b.Config.ParentSpan {
		return false
	}
	return len(b.Sessions) == 0 || slices.ContainsFunc(b.Sessions, func(p string) bool { return strings.HasPrefix(r.SessionID, p) })
}

// row is the entry of a span. If it cannot be replayed it says why, before anything is run.
func (b *batch) row(span trace.Record) *replay.BatchSpan {
	row := &replay.BatchSpan{SpanID: span.SpanID, Cmd: span.Cmd, Replays: []*replay.Report{}}
	if _, _, err := planFor(b.Config.Trace, span, replay.Options{Environ: b.Environ}); err != nil {
		row.Status, row.Reason = replay.Skipped, err.Error()
	}
	return row
}

// run replays what is not skipped. It returns the signal that ended it, nil for none.
func (b *batch) run() os.Signal {
	todo := slices.DeleteFunc(slices.Clone(b.rows), func(r *replay.BatchSpan) bool { return r.Status == replay.Skipped })
	next := make(chan *replay.BatchSpan)
	var workers sync.WaitGroup
	done, bad := 0, 0
	for range b.jobs() {
		workers.Go(func() {
			for r := range next {
				b.replay(r)
				b.mu.Lock()
				if done++; r.Status != replay.Same && r.Status != replay.NotRecorded {
					bad++
				}
				b.Progress(done, len(todo), bad)
				b.mu.Unlock()
			}
		})
	}
	for _, r := range todo {
		next <- r
	}
	close(next)
	workers.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ended
}

// jobs is how many replays run at once. On the host each may change what the next one sees, so
// there is one.
func (b *batch) jobs() int {
	switch {
	case !b.World:
		return 1
	case b.Jobs > 0:
		return b.Jobs
	}
	return runtime.NumCPU()
}

// stop passes a signal on to all replays, and lets no other begin.
func (b *batch) stop(s syscall.Signal) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = s
	for pid := range b.pids {
		_ = syscall.Kill(pid, s) // it may just have ended; it is not reaped under this lock
	}
}

// replay does all replays of one row, and sums them up.
func (b *batch) replay(r *replay.BatchSpan) {
	for range b.Times {
		a := b.once(r.SpanID)
		if a.Report == nil {
			r.Status, r.Reason = replay.Failed, a.Reason
			return
		}
		r.Replays = append(r.Replays, a.Report)
	}
	r.Status, r.Reason, r.Unstable = replay.Sum(r.Replays)
}

// once replays a span in a process of its own.
func (b *batch) once(id string) answer {
	question, err := json.Marshal(job{Settings: b.Settings, Env: b.Env, Span: id})
	if err != nil {
		return answer{Reason: err.Error()}
	}
	self := "/proc/self/exe"
	if path, err := os.Executable(); err == nil {
		self = path
	}
	var stdout bytes.Buffer
	cmd := exec.Command(self)
	cmd.Args, cmd.Env = []string{WorkerName}, b.Environ
	cmd.Stdin, cmd.Stdout = bytes.NewReader(question), &stdout
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if why := b.start(cmd); why != "" {
		return answer{Reason: why}
	}
	err = cmd.Wait()
	b.mu.Lock()
	delete(b.pids, cmd.Process.Pid)
	b.mu.Unlock()
	var a answer
	if json.Unmarshal(stdout.Bytes(), &a) != nil || a == (answer{}) {
		return answer{Reason: fmt.Sprintf("the replay ended without a report: %v", err)}
	}
	return a
}

// start begins a replay unless the batch was ended.
func (b *batch) start(cmd *exec.Cmd) (why string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended != nil {
		return "not run: " + b.ended.String()
	}
	if err := cmd.Start(); err != nil {
		return err.Error()
	}
	b.pids[cmd.Process.Pid] = true
	return ""
}

// WorkerName is the argv[0] by which this program knows that it is to [Work].
const WorkerName = "substrate: replays one of many spans"

// job is what a worker reads from its standard input, as JSON.
type job struct {
	Settings
	Env  []string
	Span string
}

// answer is what a worker writes to its standard output, as JSON.
type answer struct {
	Report *replay.Report
	Reason string // why there is no report; one line
}

// Work is the process that replays one span for [Many].
func Work(cfg config.Config, environ []string, in io.Reader, out io.Writer) error {
	var j job
	if err := json.NewDecoder(in).Decode(&j); err != nil {
		return fmt.Errorf("find the spans to replay: %w", err)
	}
	var a answer
	if outcome, err := j.run(cfg, environ); err != nil {
		a.Reason, _, _ = strings.Cut(err.Error(), "\n")
	} else {
		a.Report = outcome.Report()
	}
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	return enc.Encode(a)
}

// run replays the span.
func (j *job) run(cfg config.Config, environ []string) (replay.Outcome, error) {
	reader := &trace.Reader{Path: cfg.Trace, Inside: cfg.ParentSpan}
	was, _, plan, err := Find(reader, j.Span, replay.Options{Env: j.Env, Environ: environ})
	if err != nil {
		return replay.Outcome{}, err
	}
	ignore := func(error) {} // the outcome says what matters
	return Run(Options{
		Settings: j.Settings, Config: cfg, Component: trace.ComponentReplay, Plan: plan, Was: &was, Reader: reader,
		ToFiles: true, Watch: Watch{Warn: ignore},
	})
}
