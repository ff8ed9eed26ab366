package doctor

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// refusal is the error of the schema for a JSON text; nil if it fits.
func refusal(t *testing.T, text []byte) error {
	t.Helper()
	c := jsonschema.NewCompiler()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.AddResource("urn:substrate:schema:doctor:1", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("urn:substrate:schema:doctor:1")
	if err != nil {
		t.Fatal(err)
	}
	report, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(report)
}

// fits checks the JSON of a report with the schema.
func fits(t *testing.T, r *Report) {
	t.Helper()
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := refusal(t, text); err != nil {
		t.Errorf("%v\n%s", err, text)
	}
}

// DOC2: a report without any answer fits the schema, and the schema refuses wrong reports.
func TestSchema(t *testing.T) {
	r := newReport(Host{})
	for _, c := range checks {
		f, _ := wait(check{name: c.name}, nil) // nobody answers
		r.Checks = append(r.Checks, f.rows...)
	}
	fits(t, r)
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{
		`"doctor_schema_version":1`: `"doctor_schema_version":2`,
		`"ok":false`:                `"ok":true`,
		`"strategy":""`:             `"strategy":"best"`,
		`"missing":[]`:              `"missing":null`,
		`"capabilities":[]`:         `"capabilities":["CAP_KILL"]`,
		`"run_root":""`:             `"run_root":"run"`,
		`"dmesg_restrict":-1,`:      ``,
		`"status":"FAIL"`:           `"status":"PASS"`, // with a fix
		`"kernel":""`:               `"kernel":"","more":1`,
	} {
		odd := bytes.Replace(text, []byte(from), []byte(to), 1)
		if bytes.Equal(odd, text) {
			t.Fatalf("no %s in %s", from, text)
		}
		if refusal(t, odd) == nil {
			t.Errorf("the schema accepts %s in the place of %s", to, from)
		}
	}
}
