package plain

// Time appends a time: RFC 3339 in UTC with nine digits of a second, so that times sort as text.
// sec and nsec count from 1970; the year must not be before 0.
//
// Source: RFC 3339, section 5.6.
func (b *Buffer) Time(sec, nsec int64) *Buffer {
	const toYear0 = 719468 // days from 1 March of the year 0 to 1 January 1970
	sec += toYear0 * 86400
	year, month, day := civil(uint64(sec) / 86400)
	s := uint64(sec) % 86400
	b.padded(year, 4).Byte('-').padded(month, 2).Byte('-').padded(day, 2).Byte('T')
	b.padded(s/3600, 2).Byte(':').padded(s/60%60, 2).Byte(':').padded(s%60, 2)
	return b.Byte('.').padded(uint64(nsec), 9).Byte('Z')
}

// civil is the date of a day since 1 March of the year 0. Its years begin in March, so that a leap
// day is the last of its year. 400 years have 146,097 days.
func civil(days uint64) (year, month, day uint64) {
	era := days / 146097
	n := days % 146097                           // day of the era
	y := (n - n/1460 + n/36524 - n/146096) / 365 // year of the era
	n -= 365*y + y/4 - y/100                     // day of the year
	m := (5*n + 2) / 153                         // month, March is 0
	year, month, day = y+era*400, m+3, n-(153*m+2)/5+1
	if month > 12 {
		year, month = year+1, month-12
	}
	return year, month, day
}

// What ids begin with.
const (
	SpanPrefix    = "spn_"
	SessionPrefix = "ses_"
)

// Tick is a time in the unit of [Buffer.ID]: 1/4096 ms since 1970.
func Tick(sec, nsec int64) uint64 {
	ns := uint64(sec)*1e9 + uint64(nsec)
	return ns/1e6<<12 | ns%1e6<<12/1e6
}

// ID appends an id: prefix and the 32 hex digits of a UUIDv7, which holds 48 bits of milliseconds,
// the version, 12 bits of a fraction of a millisecond, the variant and 62 of the bits of random.
// An id must be unique, not secret, so random may come from any good generator.
//
// Source: RFC 9562, section 5.7, and section 6.2, method 3.
func (b *Buffer) ID(prefix string, tick, random uint64) *Buffer {
	return b.Raw(prefix).Hex(tick>>12<<16|7<<12|tick&0xfff, 16).Hex(2<<62|random&(1<<62-1), 16)
}

// NewID is [Buffer.ID] as a string of its own.
func NewID(prefix string, tick, random uint64) string {
	var room [40]byte
	b := Fixed(room[:])
	return string(b.ID(prefix, tick, random).Bytes)
}
