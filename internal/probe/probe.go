// Package probe asks the host what it can do, by trying.
//
// An answer is a [Check]: it has a name, the outcome, the reason and a remedy. The doctor prints
// the same checks from which package world chooses a strategy, so the two cannot disagree.
package probe

import "errors"

// ErrUnsupported is wrapped by errors for what this host cannot do, or not for this caller.
var ErrUnsupported = errors.New("not supported here")

// Check is the answer to one question.
type Check struct {
	Name   string // short and stable: "overlay_mount_ok"
	OK     bool
	Reason string // why it failed; "" if OK
	Remedy string // one hint, a command where possible
}

// Error is an error with a remedy. It wraps [ErrUnsupported] and the cause.
type Error struct {
	What   string // what was being done: "create a user namespace"
	Err    error  // the cause
	Remedy string // one hint; may be empty
}

// Error returns what was being done, and the cause.
func (e *Error) Error() string { return e.What + ": " + e.Err.Error() }

// Unwrap returns ErrUnsupported and the cause.
func (e *Error) Unwrap() []error { return []error{ErrUnsupported, e.Err} }
