package trace

import (
	"encoding/hex"
	"math/rand/v2"
	"sync"
	"time"
)

// timeLayout is RFC 3339 with all nine digits, so that times sort as text.
const timeLayout = "2006-01-02T15:04:05.000000000Z07:00"

// What ids begin with, and the length of a whole session id.
const (
	idSpan       = "spn_"
	idSession    = "ses_"
	sessionIDLen = len(idSession) + 32
)

// FormatTime gives t as a line holds it: RFC 3339, UTC, nanoseconds.
//
// Source: RFC 3339, section 5.6.
func FormatTime(t time.Time) string { return t.UTC().Format(timeLayout) }

// NewSpanID returns a fresh span id: "spn_" and 32 hex digits. Ids that one process
// makes sort in the order in which it made them.
func NewSpanID() string { return newID(idSpan) }

// NewSessionID returns a fresh session id: "ses_" and 32 hex digits.
func NewSessionID() string { return newID(idSession) }

func newID(prefix string) string {
	id := uuidv7(ticks(time.Now()), rand.Uint64())
	return prefix + hex.EncodeToString(id[:])
}

// lastTick is the tick of the youngest id of this process.
var lastTick struct {
	sync.Mutex
	n uint64
}

// ticks gives now in 1/4096 ms since 1970, and always more than the time before,
// also if two ids fall into one tick or the clock was set back.
func ticks(now time.Time) uint64 {
	ns := uint64(now.UnixNano())
	n := ns/1e6<<12 | ns%1e6<<12/1e6
	lastTick.Lock()
	defer lastTick.Unlock()
	lastTick.n = max(n, lastTick.n+1)
	return lastTick.n
}

// uuidv7 lays out 48 bits of milliseconds, the version, 12 bits of a fraction of a
// millisecond, the variant and 62 random bits. The random bits come from math/rand/v2,
// which the kernel seeds in every process: an id must be unique, not secret, and
// crypto/rand would cost start-up time and a system call.
//
// Source: RFC 9562, section 5.7, and section 6.2, method 3.
func uuidv7(tick, random uint64) (id [16]byte) {
	for i := range 6 {
		id[i] = byte(tick >> (52 - 8*i))
	}
	id[6] = 0x70 | byte(tick>>8)&0x0f
	id[7] = byte(tick)
	for i := range 8 {
		id[8+i] = byte(random >> (56 - 8*i))
	}
	id[8] = 0x80 | id[8]&0x3f
	return id
}
