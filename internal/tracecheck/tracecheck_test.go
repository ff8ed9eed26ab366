package tracecheck

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"substrate/fsdiff"
	"substrate/trace"
)

// fullLine returns a line with all fields, also those for bytes that are not UTF-8.
func fullLine(t *testing.T) []byte {
	t.Helper()
	diff := fsdiff.New("/src/\xff", "overlay", 0)
	mode := fsdiff.Meta{FileType: fsdiff.File, Mode: "0644", Size: 5, Mtime: "2025-09-10T02:20:33.000000001Z"}
	link := fsdiff.Meta{FileType: fsdiff.Symlink, Mode: "0777"}
	link.SetTarget("to\xff")
	diff.Add("/src/\xff/new", fsdiff.Create, mode, nil)
	diff.Add("/etc/bad\xff", fsdiff.TypeChange, link, &mode)
	r := trace.Record{
		TraceSchemaVersion: 1, TS: "2025-09-10T02:20:33.000000001Z", EventType: trace.EventComplete,
		SessionID: trace.NewSessionID(), Component: trace.ComponentReplay, SpanID: trace.NewSpanID(), ParentSpan: trace.NewSpanID(),
		Cmd: "echo \xff", Argv: []string{"echo", "\xff"}, ResolvedPath: "/\xff", Shell: "/bin/bash", ShellArgs: []string{"-c", "\xff"},
		Script: &trace.Script{Path: "\xff", SHA256: strings.Repeat("a", 64), Text: "\xff", TextTruncated: true},
		Cwd:    "/\xff", Umask: "0022", Env: map[string]string{"PATH": "\xff"}, EnvHashes: map[string]string{"X": "ab"},
		AgentID: "human", Host: "box", UID: 1, GID: 1, PID: 1, Depth: 1, Caller: "make", CallStack: []string{"make"}, ReplayOf: "spn_1",
		Completion: &trace.Completion{
			Exit: 130, TermSignal: 2, MemoryPeakBytes: 1, OOMKills: 1, SetupUS: 1, TeardownUS: 1,
			Capture: &trace.Capture{
				Stdout: trace.Stream{SHA256: strings.Repeat("a", 64), Bytes: 1, Path: "x", Truncated: true},
				Stderr: trace.Stream{SHA256: strings.Repeat("b", 64)},
			},
			ScopesUsed: []string{"fs.write:/a\nb", "net.block:192.0.2.1:443/tcp"}, FSDiff: diff.Finish(),
			DegradedComponents: []string{"cgroup"}, WorldID: "wld_0123456789abcdef0123456789abcdef", FSStrategy: "overlay", FSFallbackReasons: []string{"x"},
			ReplayContext: &trace.ReplayContext{Mode: "bash -c", World: true, Argv: []string{"x"}, StdinPath: "/dev/null", Verdict: &trace.Verdict{
				Result: "differs", Exit: "same", Stdout: "same", Stderr: "same", Files: "same", Environment: []string{"X"},
			}},
		},
	}
	line := trace.AppendJSON(nil, &r)
	if problems, err := Validate(bytes.NewReader(line)); err != nil || len(problems) > 0 {
		t.Fatalf("Validate(%s) = %v, %v", line, problems, err)
	}
	return line
}

// TRC7: our validator and a full implementation agree on a line and on all lines that result from
// changing one value of it.
func TestAgreesWithFullImplementation(t *testing.T) {
	full, all := fullImplementation(t, trace.Schema), mustLoad(t)
	line := fullLine(t)
	tested, refused := 0, 0
	for doc := range mutations(t, line) {
		got := len(checker{all, all.trace}.check(all.trace, doc, "")) == 0
		if want := full.Validate(doc) == nil; got != want {
			text, err := json.Marshal(doc)
			t.Fatalf("valid = %v, want %v (%v) for %s", got, want, err, text)
		}
		tested++
		if !got {
			refused++
		}
	}
	if tested < 1000 || refused < tested/2 {
		t.Errorf("%d of %d changed lines refused, want most of at least 1000", refused, tested)
	}
}

func mustLoad(t *testing.T) *loaded {
	t.Helper()
	all, err := schemas()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func fullImplementation(t *testing.T, main []byte) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	id := ""
	for _, text := range [][]byte{trace.Schema, fsdiff.Schema} {
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		url := doc.(map[string]any)["$id"].(string)
		if err := c.AddResource(url, doc); err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(text, main) {
			id = url
		}
	}
	s, err := c.Compile(id) // this also checks our file against the meta-schema
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// mutations yields the line, and the line with one value at a time replaced, removed or added.
func mutations(t *testing.T, line []byte) func(yield func(any) bool) {
	t.Helper()
	decode := func(text string) any {
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		return doc
	}
	var others []any
	for _, text := range []string{
		`null`, `true`, `-1`, `0`, `1`, `2`, `1.5`, `300`, `""`, `"x"`, `"é"`, `"/"`, `"0644"`, `"eA=="`, `[]`, `[1]`, `["x"]`, `{}`, `{"x":1}`, `{"x":"eA=="}`,
		`"create"`, `"file"`, `"command_start"`, `"shell"`, `"direct"`, `"fs.write:/x"`, `"net.block:x"`, `"2025-09-10T02:20:33Z"`, `"spn_` + strings.Repeat("0", 32) + `"`,
	} {
		others = append(others, decode(text))
	}
	root := decode(string(line))
	return func(yield func(any) bool) {
		if yield(root) {
			mutate(root, others, func() bool { return yield(root) })
		}
	}
}

// mutate changes each value below v in turn, calls try, and undoes the change.
func mutate(v any, others []any, try func() bool) bool {
	switch v := v.(type) {
	case []any:
		for i, old := range v {
			for _, other := range others {
				v[i] = other
				if !try() {
					return false
				}
			}
			v[i] = old
			if !mutate(old, others, try) {
				return false
			}
		}
	case map[string]any:
		v["unknown"] = "x"
		if !try() {
			return false
		}
		delete(v, "unknown")
		for _, name := range slices.Sorted(maps.Keys(v)) {
			old := v[name]
			for _, other := range others {
				v[name] = other
				if !try() {
					return false
				}
			}
			delete(v, name)
			if !try() {
				return false
			}
			v[name] = old
			if !mutate(old, others, try) {
				return false
			}
		}
	}
	return true
}

// TRC7: the schema has exactly the fields of a Record, and those of a Diff.
func TestSchemaHasTheFieldsOfTheTypes(t *testing.T) {
	all := mustLoad(t)
	context := all.trace.Defs["replay_context"]
	for name, pair := range map[string]struct {
		schema *schema
		typ    reflect.Type
	}{
		"Record":        {all.trace, reflect.TypeFor[trace.Record]()},
		"Script":        {all.trace.Properties["script"], reflect.TypeFor[trace.Script]()},
		"ReplayContext": {context, reflect.TypeFor[trace.ReplayContext]()},
		"Capture":       {all.trace.Properties["capture"], reflect.TypeFor[trace.Capture]()},
		"Stream":        {all.trace.Defs["stream"], reflect.TypeFor[trace.Stream]()},
		"Verdict":       {context.Properties["verdict"], reflect.TypeFor[trace.Verdict]()},
		"Diff":          {all.diff, reflect.TypeFor[fsdiff.Diff]()},
		"Entry":         {all.diff.Defs["entry"], reflect.TypeFor[fsdiff.Entry]()},
		"Meta":          {all.diff.Defs["meta"], reflect.TypeFor[fsdiff.Meta]()},
		"Counts":        {all.diff.Properties["counts"], reflect.TypeFor[fsdiff.Counts]()},
	} {
		want := fields(pair.typ)
		slices.Sort(want)
		if got := slices.Sorted(maps.Keys(pair.schema.Properties)); !slices.Equal(got, want) {
			t.Errorf("%s: the schema has %v, the type %v", name, got, want)
		}
	}
}

func fields(typ reflect.Type) (names []string) {
	for i := range typ.NumField() {
		f := typ.Field(i)
		if !f.Anonymous {
			if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && name != "-" {
				names = append(names, name)
			}
			continue
		}
		embedded := f.Type
		if embedded.Kind() == reflect.Pointer {
			embedded = embedded.Elem()
		}
		names = append(names, fields(embedded)...)
	}
	return names
}

// TRC7: one message for each bad line, with its number and the JSON pointer.
func TestValidate(t *testing.T) {
	good := string(fullLine(t))
	change := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("no %s in %s", old, good)
		}
		return strings.Replace(good, old, new, 1)
	}
	lines := map[string]string{ // a line, and the problem without its number
		good:                                    "",
		"":                                      "",
		"{":                                     ": is not JSON: unexpected EOF",
		`{} {}`:                                 ": has more than one JSON value",
		"{\"cmd\":\"\xff\"}":                    ": is not UTF-8",
		`[]`:                                    ": is array, want object",
		change(`"cmd":`, `"command":`):          "/cmd: is missing (and 1 more)",
		change(`"exit":130`, `"exit":"x"`):      "/exit: is string, want integer",
		change(`"exit":130,`, ``):               "/exit: is missing",
		change(`"exit":130`, `"exit":256`):      "/exit: is 256, want at most 255",
		change(`"replay"`, `"robot"`):           `/component: is "robot", want one of ["shell","shim","replay","world"]`,
		change(`"kind":"create"`, `"kind":"c"`): `/fs_diff/entries/1/kind: is "c", want one of ["create","modify","delete","type_change"]`,
		change(`command_complete`, `command_start`):                    "/capture: is not allowed here (and 17 more)",
		change(`"PATH":"\ufffd"`, `"a/b~":1`):                          "/env/a~1b~0: is integer, want string",
		change(`"trace_schema_version":1`, `"trace_schema_version":2`): "/trace_schema_version: is 2, want 1",
	}
	for line, want := range lines {
		problems, err := Validate(strings.NewReader("\n" + line + "\n"))
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if len(problems) > 0 {
			got = strings.TrimPrefix(problems[0].String(), "line 2: ")
			want = strings.TrimPrefix(want, ": ")
		}
		if got != want || len(problems) > 1 {
			t.Errorf("Validate(%.60s…) = %q, want %q", line, problems, want)
		}
	}
}

// TRC4: fs_diff is null in a world's line only if degraded_components says why.
func TestWorldWithoutDiffSaysWhy(t *testing.T) {
	var line map[string]any
	if err := json.Unmarshal(fullLine(t), &line); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		degraded []string
		want     int
	}{{[]string{"fs-view"}, 0}, {[]string{}, 1}} {
		line["fs_diff"], line["degraded_components"] = nil, c.degraded
		text, err := json.Marshal(line)
		if err != nil {
			t.Fatal(err)
		}
		if problems, err := Validate(bytes.NewReader(text)); err != nil || len(problems) != c.want {
			t.Errorf("degraded %v: %v, %v, want %d problems", c.degraded, problems, err, c.want)
		}
	}
}

// A Diff by itself fits its schema, and an object without its fields does not.
func TestDiffSchema(t *testing.T) {
	all := mustLoad(t)
	text, err := json.Marshal(fsdiff.New("/src", "fuse", 0).Finish())
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{string(text): true, "{}": false} {
		dec := json.NewDecoder(strings.NewReader(text))
		dec.UseNumber()
		var doc any
		if err := dec.Decode(&doc); err != nil {
			t.Fatal(err)
		}
		if found := (checker{all, all.diff}).check(all.diff, doc, ""); (len(found) == 0) != want {
			t.Errorf("check(%s) = %v, want that it fits: %v", text, found, want)
		}
	}
}

// The validator refuses a keyword that it does not know.
func TestUnknownKeywordIsRefused(t *testing.T) {
	l := &loaded{byID: make(map[string]*schema)}
	if _, err := l.read([]byte(`{"properties":{"a":{"multipleOf":2}}}`)); err == nil {
		t.Error("read accepted multipleOf")
	}
}

func FuzzValidate(f *testing.F) {
	f.Add([]byte(`{"cmd":1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if _, err := Validate(bytes.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	})
}
