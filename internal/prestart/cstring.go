package prestart

// cstring is text in a buffer, followed by a zero for the kernel. What does not fit sets full.
type cstring struct {
	n    int
	full bool
	buf  []byte
}

// in gives the text its buffer, and empties it.
func (c *cstring) in(buf []byte) {
	c.buf = buf
	c.reset()
}

// reset empties the buffer.
func (c *cstring) reset() { c.n, c.full, c.buf[0] = 0, false, 0 }

// add appends s.
func (c *cstring) add(s string) *cstring {
	if len(s) >= len(c.buf)-c.n {
		c.full = true
		return c
	}
	for i := range len(s) { // copy would call into another part of the program
		c.buf[c.n+i] = s[i]
	}
	c.n += len(s)
	c.buf[c.n] = 0
	return c
}

// cut leaves the first n bytes.
func (c *cstring) cut(n int) {
	c.n = n
	c.buf[n] = 0
}

// number appends n in decimal digits.
func (c *cstring) number(n int64) *cstring {
	var d digits
	return c.add(d.of(n))
}

func (c *cstring) ptr() *byte { return &c.buf[0] }

// String is a view of what was added.
func (c *cstring) String() string { return view(c.buf[:c.n]) }

// next is what begins behind the zero, for another string in the same buffer; nil if there is no room.
func (c *cstring) next() []byte {
	if c.full || c.n+1 >= len(c.buf) {
		return nil
	}
	return c.buf[c.n+1:]
}

// digits is room for the decimal digits of a number.
type digits [20]byte

// of gives the digits of n.
func (d *digits) of(n int64) string {
	i, u := len(d), uint64(n)
	if n < 0 {
		u = -u
	}
	for {
		i--
		d[i] = byte('0' + u%10)
		u /= 10
		if u == 0 {
			break
		}
	}
	if n < 0 {
		i--
		d[i] = '-'
	}
	return view(d[i:])
}
