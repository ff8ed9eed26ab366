package record

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"substrate/trace"
)

// tidyVault drops the secrets of spans that are not in the trace any more, and are older than 30 days. It looks once a day.
// What goes wrong is nothing to tell: it is tried again tomorrow.
func tidyVault(tracePath string) {
	vault := VaultPath(tracePath)
	if !due(filepath.Join(filepath.Dir(vault), ".vault-tidied")) {
		return
	}
	before := time.Now().Add(-keepFor)
	if oldest := oldestLine(tracePath); oldest.Before(before) {
		before = oldest
	}
	_ = forget(vault, before) // see above
}

// oldestLine is when the first line that the trace holds was written, now if there is none.
func oldestLine(tracePath string) time.Time {
	oldest := time.Now()
	enough := errors.New("enough")
	_ = trace.Scan(tracePath, func(r *trace.Record) error { // nothing there is as good as nothing older
		if t, err := time.Parse(time.RFC3339Nano, r.TS); err == nil {
			oldest = t
			return enough
		}
		return nil
	})
	return oldest
}

// forget replaces the vault by one without the lines of spans that began before a time. Lines that are not understood
// go too: nobody could use them.
func forget(vault string, before time.Time) error {
	f, err := lockedVault(vault)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it is only read
	tmp, err := replacement(vault)
	if err != nil {
		return err
	}
	dropped, err := copyYounger(tmp, f, before)
	if err == nil && dropped {
		err = errors.Join(tmp.Sync(), os.Rename(tmp.Name(), vault))
	}
	if err != nil || !dropped {
		_ = os.Remove(tmp.Name())
	}
	return errors.Join(err, tmp.Close())
}

// copyYounger copies the lines of spans that began at a time or later, and says whether there were others.
func copyYounger(w io.Writer, r io.Reader, than time.Time) (dropped bool, err error) {
	lines := bufio.NewReaderSize(r, 64<<10)
	out := bufio.NewWriter(w)
	for {
		text, err := lines.ReadBytes('\n')
		if len(text) > 0 {
			var line vaultLine
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
