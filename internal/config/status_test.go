package config

import (
	"strconv"
	"strings"
	"testing"
)

// effectiveHolds reads the line CapEff of /proc/self/status.
func effectiveHolds(t *testing.T, status string, bits ...int) bool {
	t.Helper()
	_, rest, ok := strings.Cut(status, "CapEff:")
	if !ok {
		t.Fatal("no CapEff in /proc/self/status")
	}
	line, _, _ := strings.Cut(rest, "\n")
	mask, err := strconv.ParseUint(strings.TrimSpace(line), 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	for _, bit := range bits {
		if mask&(1<<bit) == 0 {
			return false
		}
	}
	return true
}
