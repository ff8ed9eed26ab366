package record

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"substrate/internal/plain"
	"substrate/internal/vault"
	"substrate/trace"
)

// KeepFile gives what a span says of a file, in a directory beside the trace, that the command
// printed to, and takes the secrets out of the file. The hash is that of what the command printed.
func (s *Span) KeepFile(f *os.File) (trace.Stream, error) {
	sum := sha256.New()
	n, err := io.Copy(sum, io.NewSectionReader(f, 0, 1<<62))
	if err != nil {
		return trace.Stream{}, fmt.Errorf("read the output of the command: %w", err)
	}
	dir, name := filepath.Split(f.Name())
	stream := trace.Stream{SHA256: hex.EncodeToString(sum.Sum(nil)), Bytes: n, Path: filepath.Join(filepath.Base(dir), name)}
	if s.recorder.cfg.NoRedact {
		return stream, nil
	}
	if err := s.maskFile(f); err != nil {
		return stream, fmt.Errorf("remove secrets from the output of the command: %w", err)
	}
	return stream, nil
}

// maskFile replaces the file by one without secrets if it holds any.
func (s *Span) maskFile(f *os.File) error {
	found, err := s.maskTo(io.Discard, f)
	if err != nil || !found {
		return err
	}
	tmp, err := vault.Replacement(f.Name())
	if err != nil {
		return err
	}
	if _, err = s.maskTo(tmp, f); err == nil {
		err = os.Rename(tmp.Name(), f.Name())
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
	}
	return errors.Join(err, tmp.Close())
}

// maskTo copies f to w without secrets, and reports whether there were any.
func (s *Span) maskTo(w io.Writer, f *os.File) (found bool, err error) {
	const piece = 1 << 20
	r := bufio.NewReaderSize(io.NewSectionReader(f, 0, 1<<62), piece)
	for {
		text, err := r.Peek(piece)
		if len(text) == 0 {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return found, err
		}
		if err == nil {
			text = wholeWords(text)
		}
		masked := s.Mask(string(text))
		found = found || masked != string(text)
		if _, err := io.WriteString(w, masked); err != nil {
			return found, err
		}
		if _, err := r.Discard(len(text)); err != nil {
			return found, err
		}
	}
}

// Tidy removes what commands printed more than 30 days ago from one of the directories beside a
// trace. It looks once a day. What cannot be removed stays.
func Tidy(dir string) {
	if vault.OnceADay(filepath.Join(dir, ".tidied")) {
		tidy(dir, time.Now().Add(-vault.KeepFor))
	}
}

// tidy removes the files that were last changed before a time.
func tidy(dir string, before time.Time) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		name := e.Name()
		if !strings.HasPrefix(name, plain.SpanPrefix) || !strings.Contains(name, ".std") {
			continue
		}
		if st, err := e.Info(); err == nil && st.Mode()&fs.ModeType == 0 && st.ModTime().Before(before) {
			_ = os.Remove(filepath.Join(dir, name))
		}
	}
}
