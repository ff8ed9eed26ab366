package record

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"substrate/internal/hostfile"
	"substrate/trace"
)

// Output is what a command printed to one descriptor (REC7).
type Output struct {
	SHA256    string // hex, of all bytes
	Bytes     int64
	Head      []byte // the first of them
	Truncated bool   // Head is not all
}

// CaptureDir is where what commands print is kept for the trace at tracePath: beside it.
func CaptureDir(tracePath string) string { return filepath.Join(filepath.Dir(tracePath), "captures") }

// KeepOutput puts the beginnings of what the command printed, without secrets, into files beside
// the trace, and gives what the span says of it. What cannot be kept is left out, with a warning.
func (s *Span) KeepOutput(stdout, stderr Output) *trace.Capture {
	return &trace.Capture{Stdout: s.keepStream("stdout", stdout), Stderr: s.keepStream("stderr", stderr)}
}

func (s *Span) keepStream(name string, o Output) trace.Stream {
	stream := trace.Stream{SHA256: o.SHA256, Bytes: o.Bytes, Truncated: o.Truncated}
	cfg := s.recorder.cfg
	if len(o.Head) == 0 || !s.recorder.hasPlace() {
		return stream
	}
	head := o.Head
	if o.Truncated {
		head = wholeWords(head)
	}
	Tidy(CaptureDir(cfg.Trace))
	path := filepath.Join(CaptureDir(cfg.Trace), s.record.SpanID+"."+name)
	if err := writePrivate(path, []byte(s.Mask(string(head)))); err != nil {
		s.recorder.mu.Lock()
		s.recorder.warnOnce(fmt.Errorf("the output of this command is not stored: %w", err))
		s.recorder.mu.Unlock()
		return stream
	}
	stream.Path = filepath.Join(filepath.Base(filepath.Dir(path)), filepath.Base(path))
	return stream
}

// wholeWords cuts off the word that the limit cut in two: the first half of a secret does not look
// like one.
func wholeWords(head []byte) []byte {
	const longest = 4096
	if n := bytes.LastIndexAny(head, " \t\n\"'"); n >= 0 && len(head)-n < longest {
		return head[:n+1]
	}
	return head
}

// writePrivate makes a new file that only its owner can read.
func writePrivate(path string, text []byte) error {
	f, err := hostfile.OpenPrivate(path, os.O_WRONLY|os.O_EXCL)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}
