package show

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"substrate/fsdiff"
)

// Progress is one line on a terminal that shows how far something is. It appears after half a
// second. Where the output is not a terminal, nothing is shown.
type Progress struct {
	w     *os.File // nil for none
	what  string
	next  time.Time // when the line is written next
	drawn bool
}

// NewProgress makes a line on w about what is done; Done removes it.
func NewProgress(w *os.File, what string) *Progress {
	p := &Progress{what: what, next: time.Now().Add(500 * time.Millisecond)}
	if IsTerminal(w) {
		p.w = w
	}
	return p
}

// Count shows that done of all things are done, and that bad of them are not the same.
func (p *Progress) Count(done, all, bad int) {
	if p.w == nil {
		return
	}
	text := fmt.Sprintf("%s: %s %d of %d", p.what, bar(int64(done), int64(all)), done, all)
	if bad > 0 {
		text += fmt.Sprintf(", %d different", bad)
	}
	p.drawn = true
	_, _ = io.WriteString(p.w, "\r\x1b[K"+Cut(text, columns(p.w)-1)) // only for show
}

// At shows that done of all bytes are done; all is 0 if it is not known.
func (p *Progress) At(done, all int64) {
	if p.w == nil || time.Now().Before(p.next) {
		return
	}
	p.next, p.drawn = time.Now().Add(100*time.Millisecond), true
	text := fmt.Sprintf("%s: %d MB", fsdiff.Escape(p.what), done>>20)
	if all > 0 {
		all = max(all, done) // it may have grown since it was measured
		text = fmt.Sprintf("%s: %s %d of %d MB", fsdiff.Escape(p.what), bar(done, all), done>>20, all>>20)
	}
	_, _ = io.WriteString(p.w, "\r\x1b[K"+Cut(text, columns(p.w)-1)) // only for show
}

// bar is a bar of 20 characters.
func bar(done, all int64) string {
	const cells = 20
	return fmt.Sprintf("[%-*s]", cells, strings.Repeat("#", int(cells*done/max(1, all))))
}

// Done removes the line.
func (p *Progress) Done() {
	if p.drawn {
		_, _ = io.WriteString(p.w, "\r\x1b[K")
	}
}
