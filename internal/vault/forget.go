package vault

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"substrate/internal/hostfile"
	"substrate/trace"
)

// KeepFor is how long secrets, and what commands printed, are kept at least.
const KeepFor = 30 * 24 * time.Hour

// tidy drops the secrets of spans that are older than 30 days and no longer in the trace. It runs
// once a day. Errors are ignored: it tries again the next day.
func tidy(tracePath string) {
	path := Path(tracePath)
	if !OnceADay(filepath.Join(filepath.Dir(path), ".vault-tidied")) {
		return
	}
	before := time.Now().Add(-KeepFor)
	if oldest := oldestLine(tracePath); oldest.Before(before) {
		before = oldest
	}
	_ = forget(path, before)
}

// oldestLine is when the first line of the trace was written; now if there is no line.
func oldestLine(tracePath string) time.Time {
	oldest := time.Now()
	enough := errors.New("enough")
	_ = trace.Scan(tracePath, func(r *trace.Record) error { // an unreadable trace counts as empty
		if t, err := time.Parse(time.RFC3339Nano, r.TS); err == nil {
			oldest = t
			return enough
		}
		return nil
	})
	return oldest
}

// forget replaces the vault by one without the lines of spans that began before a time. It drops
// lines that it cannot decode as well: nobody could use them.
func forget(path string, before time.Time) error {
	f, err := openLocked(path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it is only read
	tmp, err := Replacement(path)
	if err != nil {
		return err
	}
	dropped, err := copyYounger(tmp, f, before)
	if err == nil && dropped {
		err = errors.Join(tmp.Sync(), os.Rename(tmp.Name(), path))
	}
	if err != nil || !dropped {
		_ = os.Remove(tmp.Name())
	}
	return errors.Join(err, tmp.Close())
}

// copyYounger copies the lines of spans that began at or after a time, and reports whether it
// left out others.
func copyYounger(w io.Writer, r io.Reader, than time.Time) (dropped bool, err error) {
	lines := bufio.NewReaderSize(r, 64<<10)
	out := bufio.NewWriter(w)
	for {
		text, err := lines.ReadBytes('\n')
		if len(text) > 0 {
			var line entry
			span := trace.Span{Start: &trace.Record{}}
			if json.Unmarshal(text, &line) == nil {
				span.Start.SpanID = line.SpanID
			}
			if span.Began().Before(than) {
				dropped = true
			} else if _, err := out.Write(text); err != nil {
				return dropped, fmt.Errorf("copy the vault: %w", err)
			}
		}
		if errors.Is(err, io.EOF) {
			return dropped, out.Flush()
		}
		if err != nil {
			return dropped, err
		}
	}
}

// OnceADay reports whether a day has passed since it last returned true for the file mark, and
// then sets the time of that file.
func OnceADay(mark string) bool {
	if st, err := os.Stat(mark); err == nil && time.Since(st.ModTime()) < 24*time.Hour {
		return false
	}
	f, err := hostfile.OpenPrivate(mark, os.O_WRONLY)
	if err != nil {
		return false
	}
	now := time.Now()
	return f.Close() == nil && os.Chtimes(mark, now, now) == nil
}

// Replacement makes a private file for the caller to rename to path. It first removes one that a
// crash left.
func Replacement(path string) (*os.File, error) {
	path += ".tmp"
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}
