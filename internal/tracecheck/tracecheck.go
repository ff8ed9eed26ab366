// Package tracecheck checks traces and diffs against their JSON Schemas.
//
// The schemas lie beside the packages whose JSON they describe, [trace.Schema] and
// [fsdiff.Schema]. They are applied by a small validator that knows the keywords they
// use and no others; the tests hold it against a full implementation. That one is not
// linked into the program, because it spends 4 to 10 ms on its own start, for every
// command that is recorded.
package tracecheck

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// Problem is what is wrong with one line.
type Problem struct {
	Line    int    `json:"line"`    // counted from 1
	Pointer string `json:"pointer"` // JSON pointer (RFC 6901) of the first value that does not fit; "" for the line as a whole
	Message string `json:"message"` // what is wrong there
	More    int    `json:"more"`    // number of other things that are wrong in the same line
}

// String gives the problem as one line of text.
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

// Validate reads a trace and returns one Problem for each line that does not fit the
// schema. Blank lines are no problem. The error is that of reading r.
func Validate(r io.Reader) ([]Problem, error) {
	var problems []Problem
	_, err := Each(r, func(p Problem) error {
		problems = append(problems, p)
		return nil
	})
	return problems, err
}

// ValidateDiff checks one fs_diff object. It returns at most one Problem, whose Line is 1.
func ValidateDiff(doc []byte) ([]Problem, error) {
	all, err := schemas()
	if err != nil {
		return nil, err
	}
	return checkText(all, all.diff, doc, 1), nil
}

// checkText checks one JSON text against the schema of a file.
func checkText(all *loaded, root *schema, text []byte, line int) []Problem {
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
	found := checker{all, root}.check(root, v, "")
	if len(found) == 0 {
		return nil
	}
	return []Problem{{Line: line, Pointer: found[0].pointer, Message: found[0].message, More: len(found) - 1}}
}
