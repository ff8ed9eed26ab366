package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"

	"substrate/fsdiff"
	"substrate/internal/replay"
)

// running are the replays that run just now. Each is a process of ours, in a process group of its own: whatever
// happens to one, the others go on, and none of them takes the terminal.
type running struct {
	mu    sync.Mutex
	pids  map[int]bool
	ended os.Signal // what ended the batch; nil while it goes on
}

// run replays what there is to replay. It returns the signal that ended it, nil for none.
func (b *batch) run(sigs <-chan os.Signal) os.Signal {
	now := &running{pids: map[int]bool{}}
	quit := make(chan struct{})
	defer close(quit)
	go func() {
		for {
			select {
			case s := <-sigs:
				now.stop(s.(syscall.Signal))
			case <-quit:
				return
			}
		}
	}()
	todo := make(chan *row)
	var workers sync.WaitGroup
	var mu sync.Mutex
	shown := b.a.newProgress("replay")
	done, bad := 0, 0
	for range b.jobs() {
		workers.Go(func() {
			for r := range todo {
				b.replay(r, now)
				mu.Lock()
				if done++; r.Status != rowSame && r.Status != rowNotRecorded {
					bad++
				}
				shown.count(done, b.todo(), bad)
				mu.Unlock()
			}
		})
	}
	for _, r := range b.rows {
		if r.left > 0 {
			todo <- r
		}
	}
	close(todo)
	workers.Wait()
	shown.done()
	return now.ended
}

// todo is how many rows are not skipped.
func (b *batch) todo() int {
	n := 0
	for _, r := range b.rows {
		if r.Reason == "" || r.Status != rowSkipped {
			n++
		}
	}
	return n
}

// stop passes a signal on to all replays, and lets no other begin.
func (r *running) stop(s syscall.Signal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = s
	for pid := range r.pids {
		_ = syscall.Kill(pid, s) // it may just have ended; it is not reaped under this lock
	}
}

// replay does all replays of one row, and sums them up.
func (b *batch) replay(r *row, now *running) {
	for range r.left {
		report, why := b.once(r.SpanID, now)
		if report == nil {
			r.Status, r.Reason = rowFailed, why
			return
		}
		r.Replays = append(r.Replays, report)
	}
	r.sum()
}

// sum says what a row comes to.
func (r *row) sum() {
	r.Status = rowNotRecorded
	for _, report := range r.Replays {
		v := report.Verdict
		switch {
		case v == nil:
		case replay.Differs(v):
			r.Status, r.Reason = rowDiffers, verdictText(v)
		case v.Result == rowSame && r.Status == rowNotRecorded:
			r.Status = rowSame
			if v.Stdout == rowNotRecorded && v.Stderr == rowNotRecorded && v.Files == rowNotRecorded {
				r.Reason = "exit code; no more was recorded"
			}
		}
	}
	if r.Unstable = replay.Unstable(r.Replays); len(r.Unstable) > 0 {
		r.Status, r.Reason = rowUnstable, "not the same each time: "+strings.Join(r.Unstable, ", ")
	}
}

// once replays a span in a process of its own. Without a report it says why.
func (b *batch) once(id string, now *running) (*replay.Report, string) {
	self := "/proc/self/exe"
	if path, err := os.Executable(); err == nil {
		self = path
	}
	cmd := exec.Command(self, append(append([]string{"replay", "--json"}, b.passed...), id)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Env = &stdout, &stderr, b.a.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if why := now.start(cmd); why != "" {
		return nil, why
	}
	err := cmd.Wait()
	now.forget(cmd.Process.Pid)
	report := new(replay.Report)
	if json.Unmarshal(stdout.Bytes(), report) == nil && report.SpanID != "" {
		return report, ""
	}
	if text := reasonIn(stderr.String()); text != "" {
		return nil, text
	}
	return nil, fmt.Sprintf("the replay ended without a report: %v", err)
}

// start begins a replay unless the batch was ended.
func (r *running) start(cmd *exec.Cmd) (why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended != nil {
		return "not run: " + r.ended.String()
	}
	if err := cmd.Start(); err != nil {
		return err.Error()
	}
	r.pids[cmd.Process.Pid] = true
	return ""
}

func (r *running) forget(pid int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.pids, pid)
}

// reasonIn is the first error that a replay printed.
func reasonIn(stderr string) string {
	for line := range strings.Lines(stderr) {
		if text, ok := strings.CutPrefix(line, "substrate: error: "); ok {
			return strings.TrimSpace(text)
		}
	}
	return ""
}

// print writes the table, or with --json one object, to standard output.
func (b *batch) print() error {
	if b.flags.json {
		return b.a.printJSON(b.object())
	}
	var text strings.Builder
	width := 0
	if terminal(b.a.stdout) {
		width = max(60, widthOf(b.a.stdout))
	}
	for i, r := range b.rows {
		if i == 0 && width > 0 {
			fmt.Fprintf(&text, tableLayout, "SPAN", "VERDICT", "COMMAND")
		}
		text.WriteString(r.text(width))
	}
	return b.a.print(text.String())
}

// object is what --json prints.
func (b *batch) object() *replay.Batch {
	o := &replay.Batch{
		Version: replay.BatchSchemaVersion, Spans: []*replay.BatchSpan{},
		Counts: map[string]int{rowSame: 0, rowDiffers: 0, rowNotRecorded: 0, rowUnstable: 0, rowSkipped: 0, rowFailed: 0},
	}
	for _, r := range b.rows {
		o.Spans = append(o.Spans, &r.BatchSpan)
		o.Counts[r.Status]++
	}
	return o
}

const tableLayout = "%-16s  %-12s  %s\n"

// text is the row for people: aligned and cut on a terminal of this width, whole and with tabs elsewhere (0).
func (r *row) text(width int) string {
	reason := fsdiff.Escape(r.Reason)
	if width == 0 {
		return strings.Join([]string{r.SpanID, r.Status, oneLine(r.Cmd), reason}, "\t") + "\n"
	}
	line := cut(strings.TrimSuffix(fmt.Sprintf(tableLayout, idText(r.SpanID, true), r.Status, oneLine(r.Cmd)), "\n"), width) + "\n"
	if reason != "" {
		line += cut(strings.Repeat(" ", 18)+reason, width) + "\n"
	}
	return line
}
