package fsdiff

import _ "embed"

// Schema is the JSON Schema of a [Diff]. Callers must not change it.
//
// Source: JSON Schema, draft 2020-12.
//
//go:embed schema.json
var Schema []byte
