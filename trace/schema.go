package trace

import _ "embed"

// Schema is the JSON Schema of one line of a trace. It refers to the schema of package
// fsdiff by that one's $id. It must not be changed.
//
// Source: JSON Schema, draft 2020-12.
//
//go:embed schema.json
var Schema []byte
