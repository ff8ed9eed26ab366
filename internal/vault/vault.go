// Package vault keeps the secrets that were taken out of spans, beside the trace.
//
// The vault is one file: a JSON object a line, appended under a lock. Only its owner can read
// it, and only a replay reads it. [Redact] and [RedactEnd] take the values out of the lines of a
// span, [Keep] writes them, [Reveal] puts them back. Package redact finds them in the text.
package vault

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
	"unicode/utf8"

	"substrate/internal/hostfile"
)

// Path is where the secrets of the trace at tracePath are kept: beside it.
func Path(tracePath string) string {
	return filepath.Join(filepath.Dir(tracePath), "vault.jsonl")
}

// schemaVersion is the value of vault_schema_version in every line.
const schemaVersion = 1

// entry is one line: the values of a span, from ‹secret:First› on.
type entry struct {
	Version int      `json:"vault_schema_version"`
	SpanID  string   `json:"span_id"`
	First   int      `json:"first"`
	Values  []string `json:"values,omitempty"`
	B64     []string `json:"values_b64,omitempty"` // all of them, if one is not UTF-8
}

// lockWait is how long a writer waits for the lock on the vault.
const lockWait = 5 * time.Second

// Keep appends the values of a span to the vault of the trace at tracePath. The first of them has
// the number first. With sync it returns after they are on the disk. Once a day it also drops the
// secrets of spans that are gone; see tidy.
func Keep(tracePath, spanID string, first int, values []string, sync bool) error {
	if err := write(Path(tracePath), spanID, first, values, sync); err != nil {
		return err
	}
	tidy(tracePath)
	return nil
}

// write appends the values of a span to the vault at path.
func write(path, spanID string, first int, values []string, sync bool) error {
	line := entry{Version: schemaVersion, SpanID: spanID, First: first, Values: values}
	for _, v := range values {
		if !utf8.ValidString(v) {
			line.Values, line.B64 = nil, encoded(values)
			break
		}
	}
	text, err := json.Marshal(line)
	if err != nil {
		return fmt.Errorf("encode a line of the vault: %w", err)
	}
	f, err := openLocked(path)
	if err != nil {
		return fmt.Errorf("open the vault: %w", err)
	}
	if err := appendLine(f, append(text, '\n')); err != nil {
		return errors.Join(fmt.Errorf("write to the vault %s: %w", path, err), f.Close())
	}
	if sync {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write to the vault: %w", err)
	}
	return nil
}

func encoded(values []string) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = base64.StdEncoding.EncodeToString([]byte(v))
	}
	return out
}

// openLocked opens the vault and locks it. It opens it again if another process replaced the file
// in between. Closing the file releases the lock.
func openLocked(path string) (*os.File, error) {
	const tries = 100
	for range tries {
		f, err := hostfile.OpenPrivate(path, os.O_RDWR|os.O_APPEND)
		if err != nil {
			return nil, err
		}
		if err := hostfile.Lock(f, lockWait); err != nil && !hostfile.NoLocks(err) {
			return nil, errors.Join(err, f.Close())
		}
		ours, err := f.Stat()
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if now, err := os.Lstat(path); err == nil && os.SameFile(ours, now) {
			return f, nil
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%s keeps being replaced", path)
}

// appendLine writes a line with one write(2). It starts a fresh line if a crash tore the last one.
// The caller holds the lock.
func appendLine(f *os.File, line []byte) error {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	last := []byte{'\n'}
	if size > 0 {
		if _, err := f.ReadAt(last, size-1); err != nil {
			return err
		}
	}
	if last[0] != '\n' {
		line = append([]byte{'\n'}, line...)
	}
	_, err = f.Write(line)
	return err
}

// read collects the values of a span. The error is why the vault could not be read to its end.
func read(path, spanID string) (map[int]string, error) {
	values := map[int]string{}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return values, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return values, errors.Join(err, fmt.Errorf("%s: %w", path, hostfile.ErrNotPrivate))
	}
	lines := bufio.NewReaderSize(f, 64<<10)
	for {
		line, err := lines.ReadBytes('\n')
		if bytes.Contains(line, []byte(spanID)) {
			take(values, line, spanID)
		}
		if errors.Is(err, io.EOF) {
			return values, nil
		}
		if err != nil {
			return values, err
		}
	}
}

// take adds the values of a line if it belongs to the span. It ignores torn and foreign lines.
func take(values map[int]string, text []byte, spanID string) {
	var line entry
	if json.Unmarshal(text, &line) != nil || line.SpanID != spanID {
		return
	}
	for i, v := range line.Values {
		values[line.First+i] = v
	}
	for i, b64 := range line.B64 {
		if v, err := base64.StdEncoding.DecodeString(b64); err == nil {
			values[line.First+i] = string(v)
		}
	}
}
