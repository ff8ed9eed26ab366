// Package tracecheck checks traces and diffs against their JSON Schemas.
//
// The schemas are [trace.Schema] and [fsdiff.Schema]. The validator is written by hand and knows
// only the keywords that they use, because a full implementation would add 4 to 10 ms to the start
// of the program, for every command that is recorded. Tests compare the two.
package tracecheck

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// Problem describes what is wrong with one line.
type Problem struct {
	Line    int    `json:"line"`    // counted from 1
	Pointer string `json:"pointer"` // JSON pointer (RFC 6901) of the first wrong value; "" for the whole line
	Message string `json:"message"`
	More    int    `json:"more"` // number of further problems in the same line
}

// String returns the problem as one line of text.
func (p Problem) String() string {
	text := fmt.Sprintf("line %d: ", p.Line)
	if p.Pointer != "" {
		text += p.Pointer + ": "
	}
	text += p.Message
	if p.More > 0 {
		text += fmt.Sprintf(" (and %d more)", p.More)
	}
	return text
}

// Validate is [Each] for a caller that wants all problems at once.
func Validate(r io.Reader) (problems []Problem, err error) {
	_, err = Each(r, func(p Problem) error {
		problems = append(problems, p)
		return nil
	})
	return problems, err
}

// checkLine checks the JSON text of a line.
func checkLine(all *loaded, text []byte, line int) []Problem {
	if !utf8.Valid(text) {
		return []Problem{{Line: line, Message: "is not UTF-8"}}
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return []Problem{{Line: line, Message: "is not JSON: " + err.Error()}}
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return []Problem{{Line: line, Message: "has more than one JSON value"}}
	}
	found := checker{all, all.trace}.check(all.trace, v, "")
	if len(found) == 0 {
		return nil
	}
	return []Problem{{Line: line, Pointer: found[0].pointer, Message: found[0].message, More: len(found) - 1}}
}
