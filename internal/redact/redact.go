// Package redact finds secrets in commands.
//
// [MayHold] is the quick look that nearly every command ends with; it can be called even before
// the Go runtime has started.
package redact
