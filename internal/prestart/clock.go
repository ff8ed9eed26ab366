package prestart

import "syscall"

// timestamp appends t in the form of a line: RFC 3339, UTC, nanoseconds.
//
// Source: RFC 3339, section 5.6; trace.FormatTime.
func (l *line) timestamp(t syscall.Timespec) {
	year, month, day := civil(t.Sec / 86400)
	second := t.Sec % 86400
	l.byte('"')
	l.padded(year, 4)
	l.byte('-')
	l.padded(month, 2)
	l.byte('-')
	l.padded(day, 2)
	l.byte('T')
	l.padded(second/3600, 2)
	l.byte(':')
	l.padded(second/60%60, 2)
	l.byte(':')
	l.padded(second%60, 2)
	l.byte('.')
	l.padded(t.Nsec, 9)
	l.raw(`Z"`)
}

// civil is the date of a day since 1970. It counts in years that begin in March, so that a leap
// day is the last of its year, and from the year 0, so that 400 years are 146,097 days.
func civil(days int64) (year, month, day int64) {
	days += 719468 // from 1 March of the year 0 to 1 January 1970
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

// tick is t in the unit of trace.NewSpanID: 1/4096 ms since 1970.
func tick(t syscall.Timespec) uint64 {
	ns := uint64(t.Sec)*1e9 + uint64(t.Nsec)
	return ns/1e6<<12 | ns%1e6<<12/1e6
}

// idText is an id: a prefix of four letters and 32 hex digits.
type idText [36]byte

// set makes an id of a tick and 64 random bits, as trace.NewSpanID lays them out.
//
// Source: RFC 9562, section 5.7.
func (id *idText) set(prefix string, tick, random uint64) {
	for i := range 4 {
		id[i] = prefix[i]
	}
	high := tick>>12<<16 | 7<<12 | tick&0xfff
	low := 2<<62 | random&(1<<62-1)
	for i := range 16 {
		id[4+i] = hexDigits[high>>(60-4*i)&0xf]
		id[20+i] = hexDigits[low>>(60-4*i)&0xf]
	}
}

func (id *idText) String() string { return view(id[:]) }

// milliseconds is the time from a to b.
func milliseconds(a, b syscall.Timespec) int64 {
	return ((b.Sec-a.Sec)*1e9 + b.Nsec - a.Nsec) / 1e6
}
