package tracecheck

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"sync"

	"substrate/fsdiff"
	"substrate/trace"
)

// schema is a JSON Schema with the keywords that ours use. Reading refuses any other keyword, so
// that none is ignored silently.
//
// Source: JSON Schema, draft 2020-12, "Validation".
type schema struct {
	never bool // the schema false

	// Annotations, which check nothing.
	Draft           string `json:"$schema"`
	ID              string `json:"$id"`
	Title           string `json:"title"`
	Description     string `json:"description"`
	Comment         string `json:"$comment"`
	ContentEncoding string `json:"contentEncoding"`

	Defs map[string]*schema `json:"$defs"`
	Ref  string             `json:"$ref"`

	Type  string `json:"type"`
	Const any    `json:"const"`
	Enum  []any  `json:"enum"`

	Required             []string           `json:"required"`
	Properties           map[string]*schema `json:"properties"`
	AdditionalProperties *schema            `json:"additionalProperties"`
	Items                *schema            `json:"items"`
	MinItems             int                `json:"minItems"`
	MinLength            int                `json:"minLength"`
	Pattern              *pattern           `json:"pattern"`
	Minimum              *float64           `json:"minimum"`
	Maximum              *float64           `json:"maximum"`

	AllOf []*schema `json:"allOf"`
	AnyOf []*schema `json:"anyOf"`
	If    *schema   `json:"if"`
	Then  *schema   `json:"then"`
	Else  *schema   `json:"else"`
}

// UnmarshalJSON also accepts the schemas true and false.
func (s *schema) UnmarshalJSON(text []byte) error {
	switch string(bytes.TrimSpace(text)) {
	case "true":
		return nil
	case "false":
		s.never = true
		return nil
	}
	type keywords schema // without this method
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	dec.UseNumber()
	return dec.Decode((*keywords)(s))
}

// pattern is a regular expression. Ours mean the same in ECMA-262 and in Go.
type pattern struct{ *regexp.Regexp }

// UnmarshalText compiles the pattern.
func (p *pattern) UnmarshalText(text []byte) (err error) {
	p.Regexp, err = regexp.Compile(string(text))
	return err
}

// schemas reads both schema files when the first line is checked.
var schemas = sync.OnceValues(func() (*loaded, error) {
	l := &loaded{byID: make(map[string]*schema)}
	var err error
	if l.trace, err = l.read(trace.Schema); err != nil {
		return nil, fmt.Errorf("read the schema of a trace: %w", err)
	}
	if l.diff, err = l.read(fsdiff.Schema); err != nil {
		return nil, fmt.Errorf("read the schema of fs_diff: %w", err)
	}
	return l, nil
})

// loaded holds the schema files.
type loaded struct {
	trace, diff *schema
	byID        map[string]*schema
}

func (l *loaded) read(text []byte) (*schema, error) {
	root := new(schema)
	if err := json.Unmarshal(text, root); err != nil {
		return nil, err
	}
	l.byID[root.ID] = root
	return root, nil
}

// resolve follows a $ref within the file with that root, or to another file. It returns the schema
// and the root of its file.
func (l *loaded) resolve(root *schema, ref string) (target, newRoot *schema) {
	if name, local := strings.CutPrefix(ref, "#/$defs/"); local {
		return root.Defs[name], root
	}
	other := l.byID[ref]
	return other, other
}
