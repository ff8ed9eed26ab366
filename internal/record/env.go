package record

import (
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"strconv"
	"strings"

	"substrate/internal/config"
	"substrate/internal/redact"
)

// Environ gives env with the variables by which a command that the span's command
// starts finds its parent (REC8). The slice env is not changed.
func (s *Span) Environ(env []string) []string {
	out := make([]string, 0, len(env)+5)
	for _, entry := range env {
		if name, _, _ := strings.Cut(entry, "="); !exported(name) {
			out = append(out, entry)
		}
	}
	return append(out,
		"SHIM_SESSION_ID="+s.record.SessionID,
		"SHIM_PARENT_SPAN="+s.record.SpanID,
		"SHIM_DEPTH="+strconv.Itoa(s.record.Depth+1),
		"SHIM_CALLER="+s.names[len(s.names)-1],
		"SHIM_CALL_STACK="+config.JoinCallStack(s.names))
}

// exported says whether Environ sets the variable.
func exported(name string) bool {
	switch name {
	case "SHIM_SESSION_ID", "SHIM_PARENT_SPAN", "SHIM_DEPTH", "SHIM_CALLER", "SHIM_CALL_STACK":
		return true
	}
	return false
}

// byValue says whether the value of a variable is stored, because a replay sets it.
//
// Source: RPL3.
func byValue(name string) bool {
	switch name {
	case "PATH", "HOME", "SHELL", "USER", "LOGNAME", "LANG", "TERM", "TZ", "RUST_LOG", "SUBSTRATE_LOG":
		return true
	}
	return strings.HasPrefix(name, "LC_")
}

// environment takes env apart: the variables of RPL3 by value, and of all others name and
// hash (REC5). What is exported to find parents differs each time and means nothing; it is
// left out. PATH is stored as it was before the shim directory was put in front.
func environment(env []string, shimDir string) (values, hashes map[string]string) {
	values, hashes = make(map[string]string, 10), make(map[string]string, len(env))
	for _, entry := range env {
		name, value, ok := strings.Cut(entry, "=")
		switch {
		case !ok || name == "" || exported(name) || name == "SHIM_ORIGINAL_PATH":
		case name == "PATH":
			_, values[name] = config.ShimsFirst(value, shimDir)
		case byValue(name):
			values[name] = value
		default:
			hashes[name] = HashValue(name, value)
		}
	}
	return values, hashes
}

// HashValue is what a span holds of the value of a variable, enough to say that it changed: the first 16 hex digits of its
// SHA-256. A short secret could be found from that by trying, so of a variable whose name promises one there are two
// digits: they tell 255 of 256 changes, and 8 bits of the secret at most.
func HashValue(name, value string) string {
	sum := sha256.Sum256([]byte(value))
	if redact.SecretName(name) {
		return hex.EncodeToString(sum[:1])
	}
	return hex.EncodeToString(sum[:8])
}

// SameHash says whether a value fits a hash that a span holds, as far as that can tell.
func SameHash(hash, value string) bool {
	sum := sha256.Sum256([]byte(value))
	return strings.HasPrefix(hex.EncodeToString(sum[:]), hash)
}

// name is what the children of the command know it by.
func (c Command) name() string {
	switch {
	case c.Name != "":
		return c.Name
	case c.Shell != "":
		return filepath.Base(c.Shell)
	case len(c.Argv) > 0:
		return filepath.Base(c.Argv[0])
	}
	return "substrate"
}
