package record

import (
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"strconv"
	"strings"

	"substrate/internal/config"
	"substrate/internal/plain"
	"substrate/internal/redact"
)

// Environ gives env with the variables by which a command that the span's command
// starts finds its parent (REC8). The slice env is not changed.
func (s *Span) Environ(env []string) []string {
	out := make([]string, 0, len(env)+5)
	for _, entry := range env {
		if name, _, _ := strings.Cut(entry, "="); !plain.IsExported(name) {
			out = append(out, entry)
		}
	}
	for _, v := range plain.Exports(s.record.SessionID, s.record.SpanID, strconv.Itoa(s.record.Depth+1), s.names[len(s.names)-1], config.JoinCallStack(s.names)) {
		out = append(out, v.Name+"="+v.Value)
	}
	return out
}

// environment takes env apart: the variables of RPL3 by value, and of all others name and
// hash (REC5). What is exported to find parents differs each time and means nothing; it is
// left out. PATH is stored as it was before the shim directory was put in front.
func environment(env []string, shimDir string) (values, hashes map[string]string) {
	values, hashes = make(map[string]string, 10), make(map[string]string, len(env))
	for _, entry := range env {
		name, value, ok := strings.Cut(entry, "=")
		switch {
		case !ok || name == "" || plain.IsExported(name) || name == plain.VarOriginalPath:
		case name == plain.VarPath:
			_, values[name] = config.ShimsFirst(value, shimDir)
		case plain.IsKept(name):
			values[name] = value
		default:
			hashes[name] = HashValue(name, value)
		}
	}
	return values, hashes
}

// HashValue is what a span holds of the value of a variable whose value it does not hold; see
// [plain.Buffer.HashDigits].
func HashValue(name, value string) string {
	b := plain.Growing(nil)
	return b.HashDigits(value, redact.SecretName(name)).String()
}

// SameHash reports whether a value fits a hash that a span holds, as far as that can tell.
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
