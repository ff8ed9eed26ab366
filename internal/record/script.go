package record

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"substrate/trace"
)

// maxScriptText is the number of bytes of a script that a span holds.
//
// Source: REC2.
const maxScriptText = 64 << 10

// errNotRegular is why a pipe is not read: who reads it takes away what the shell wants.
var errNotRegular = errors.New("not a regular file")

// Script reads the script at path for a span. The result is never nil; if the file
// could not be read the hash is empty and the error says why.
func Script(path string) (*trace.Script, error) {
	s := &trace.Script{Path: path}
	st, err := os.Stat(path)
	if err == nil && !st.Mode().IsRegular() {
		err = errNotRegular
	}
	if err != nil {
		return s, fmt.Errorf("read script: %w", err)
	}
	f, err := os.Open(path)
	if err != nil {
		return s, fmt.Errorf("read script: %w", err)
	}
	defer f.Close() //nolint:errcheck // it was only read

	head, err := io.ReadAll(io.LimitReader(f, maxScriptText))
	if err != nil {
		return s, fmt.Errorf("read script: %w", err)
	}
	sum := sha256.New()
	sum.Write(head)
	rest, err := io.Copy(sum, f)
	if err != nil {
		return s, fmt.Errorf("read script: %w", err)
	}
	s.Text, s.TextTruncated = string(head), rest > 0
	s.SHA256 = hex.EncodeToString(sum.Sum(nil))
	return s, nil
}
