package main

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// printed says how the program prints the schema of each kind of JSON.
var printed = map[string][]string{
	"replay":   {"replay", "--json-schema"},
	"batch":    {"replay", "--all", "--json-schema"},
	"doctor":   {"--doctor", "--json-schema"},
	"trace":    {"trace", "schema"},
	"fs-diff":  {"trace", "schema", "--fs-diff"},
	"by-times": {"replay", "--times", "2", "--json-schema", "last"},
}

// schemas are those that the program prints, by kind. They refer to each other by their $id.
var schemas = sync.OnceValues(func() (map[string]*jsonschema.Schema, error) {
	c := jsonschema.NewCompiler()
	ids := map[string]string{}
	for kind, args := range printed {
		cmd := exec.Command(program, args...)
		cmd.Env = []string{"HOME=/nonexistent"}
		text, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("substrate %s: %w", strings.Join(args, " "), err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			return nil, fmt.Errorf("substrate %s: %w", strings.Join(args, " "), err)
		}
		id, _ := doc.(map[string]any)["$id"].(string)
		ids[kind] = id
		if kind == "by-times" { // the same as batch
			continue
		}
		if err := c.AddResource(id, doc); err != nil {
			return nil, err
		}
	}
	all := map[string]*jsonschema.Schema{}
	for kind, id := range ids {
		s, err := c.Compile(id)
		if err != nil {
			return nil, err
		}
		all[kind] = s
	}
	return all, nil
})

// cmdFits holds a file, or stdout, against the schema of a kind: fits KIND FILE.
func cmdFits(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 || printed[args[0]] == nil {
		ts.Fatalf("usage: fits KIND FILE")
	}
	all, err := schemas()
	ts.Check(err)
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(ts.ReadFile(args[1])))
	ts.Check(err)
	if err := all[args[0]].Validate(doc); (err == nil) == neg {
		ts.Fatalf("%s and the schema of %s: %v", args[1], args[0], err)
	}
}
