package trace_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"substrate/trace"
)

// TRC4: ids are UUIDv7 and sort in the order in which they were made.
func TestNewSpanID(t *testing.T) {
	ms, err := strconv.ParseInt(trace.NewSpanID()[4:16], 16, 64)
	must(t, err)
	if age := time.Since(time.UnixMilli(ms)); age < -time.Second || age > time.Minute {
		t.Errorf("the id says that it is %v old", age)
	}
	last := ""
	for range 10_000 {
		id := trace.NewSpanID()
		if len(id) != 36 || !strings.HasPrefix(id, "spn_") || id[16] != '7' || !strings.ContainsRune("89ab", rune(id[20])) {
			t.Fatalf("trace.NewSpanID() = %q, which is no UUIDv7", id)
		}
		if id <= last {
			t.Fatalf("trace.NewSpanID() = %q after %q", id, last)
		}
		last = id
	}
}

// TRC4: times are UTC, with all nine digits.
func TestFormatTime(t *testing.T) {
	zone := time.FixedZone("", 2*3600)
	for want, in := range map[string]time.Time{
		"2025-09-10T02:20:33.000000000Z": time.Date(2025, 9, 10, 4, 20, 33, 0, zone),
		"2025-01-02T03:04:05.120000000Z": time.Date(2025, 1, 2, 3, 4, 5, 120_000_000, time.UTC),
	} {
		if got := trace.FormatTime(in); got != want {
			t.Errorf("FormatTime(%v) = %s, want %s", in, got, want)
		}
	}
}

func TestIDPrefixes(t *testing.T) {
	if id := trace.NewSessionID(); len(id) != 36 || !strings.HasPrefix(id, "ses_") {
		t.Errorf("id %q, want ses_ and 32 digits", id)
	}
}
