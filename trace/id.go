package trace

import (
	"math/rand/v2"
	"sync"
	"time"

	"substrate/internal/plain"
)

// sessionIDLen is the length of a whole session id.
const sessionIDLen = len(plain.SessionPrefix) + 32

// FormatTime formats t as lines hold it: RFC 3339, UTC, nanoseconds.
//
// Source: RFC 3339, section 5.6.
func FormatTime(t time.Time) string {
	b := plain.Growing(nil)
	return string(b.Time(t.Unix(), int64(t.Nanosecond())).Bytes)
}

// NewSpanID returns a new span id: "spn_" and 32 hex digits. Ids sort in the order in which this
// process made them.
func NewSpanID() string { return newID(plain.SpanPrefix) }

// NewSessionID returns a new session id: "ses_" and 32 hex digits.
func NewSessionID() string { return newID(plain.SessionPrefix) }

func newID(prefix string) string { return plain.NewID(prefix, ticks(time.Now()), rand.Uint64()) }

// lastTick is the tick of the newest id of this process.
var lastTick struct {
	sync.Mutex
	n uint64
}

// ticks returns [plain.Tick] of now, but always more than the last time, even if two ids fall into
// one tick or the clock was set back.
func ticks(now time.Time) uint64 {
	n := plain.Tick(now.Unix(), int64(now.Nanosecond()))
	lastTick.Lock()
	defer lastTick.Unlock()
	lastTick.n = max(n, lastTick.n+1)
	return lastTick.n
}
