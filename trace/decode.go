package trace

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"substrate/fsdiff"
)

// ErrForeign is wrapped by the error for a line that is not a JSON object: it is torn, or another
// program wrote it.
var ErrForeign = errors.New("not a JSON object")

// bareRecord is a Record without its methods, so that encoding/json sees the fields.
type bareRecord Record

// outerFields keeps the fields apart that Decode decodes itself.
type outerFields struct {
	bareRecord
	FSDiff json.RawMessage `json:"fs_diff"` // apart, so that an invalid diff does not affect the rest
	Exit   json.RawMessage `json:"exit"`    // apart, because encoding/json returns 0 for anything but an integer
}

// Decode decodes a line of any version as far as possible. Fields that are missing or have another
// type stay zero, and unknown fields are ignored. Cmd is empty if the line has no string cmd.
// Completion is set if the line is a command_complete, or an unknown event with an exit status. The
// error wraps ErrForeign.
func Decode(line []byte) (*Record, error) {
	line = bytes.TrimSpace(line)
	if len(line) == 0 || line[0] != '{' {
		return nil, ErrForeign
	}
	var fields outerFields
	var wrongType *json.UnmarshalTypeError
	// After a field of the wrong type encoding/json continues with the next one.
	if err := json.Unmarshal(line, &fields); err != nil && !errors.As(err, &wrongType) {
		return nil, fmt.Errorf("%w: %v", ErrForeign, err)
	}
	r := Record(fields.bareRecord)
	exit, exitErr := strconv.Atoi(string(fields.Exit))
	if exitErr != nil {
		exit = 0
	}
	switch {
	case r.EventType == EventStart:
		r.Completion = nil
	case r.Completion == nil && (r.EventType == EventComplete || exitErr == nil):
		r.Completion = new(Completion)
	case r.EventType != EventComplete && exitErr != nil:
		r.Completion = nil
	}
	if r.Completion != nil {
		r.Exit = exit
		r.FSDiff = decodeDiff(fields.FSDiff)
	}
	r.restoreBytes()
	return &r, nil
}

// UnmarshalJSON does what [Decode] does.
func (r *Record) UnmarshalJSON(line []byte) error {
	decoded, err := Decode(line)
	if err == nil {
		*r = *decoded
	}
	return err
}

// decodeDiff returns nil if the diff is absent or is not a JSON object.
func decodeDiff(text json.RawMessage) *fsdiff.Diff {
	var wrongType *json.UnmarshalTypeError
	if len(text) == 0 || text[0] != '{' {
		return nil
	}
	d := new(fsdiff.Diff)
	if err := json.Unmarshal(text, d); err != nil && !errors.As(err, &wrongType) {
		return nil
	}
	return d
}

// restoreBytes moves the exact bytes from the B64 fields to the fields they belong to. It ignores a
// field that does not hold base64.
func (r *Record) restoreBytes() {
	restore(&r.Cmd, &r.CmdB64)
	restore(&r.Cwd, &r.CwdB64)
	restore(&r.ResolvedPath, &r.ResolvedPathB64)
	restoreList(r.Argv, &r.ArgvB64)
	restoreList(r.ShellArgs, &r.ShellArgsB64)
	for name, b64 := range r.EnvB64 {
		value, known := r.Env[name]
		if restore(&value, &b64); known {
			r.Env[name] = value
		}
	}
	r.EnvB64 = nil
	if r.Script != nil {
		restore(&r.Script.Path, &r.Script.PathB64)
		restore(&r.Script.Text, &r.Script.TextB64)
	}
}

func restore(value, b64 *string) {
	if *b64 == "" {
		return
	}
	if raw, err := base64.StdEncoding.DecodeString(*b64); err == nil {
		*value = string(raw)
	}
	*b64 = ""
}

// restoreList restores all elements, or none if the lists differ in length.
func restoreList(list []string, b64 *[]string) {
	if len(*b64) == len(list) {
		for i := range list {
			text := (*b64)[i]
			restore(&list[i], &text)
		}
	}
	*b64 = nil
}
