package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"substrate/fsdiff"
)

// progress is one line on a terminal that says how far something is. Elsewhere it is nothing, and neither is
// it for what takes less than half a second.
type progress struct {
	w     *os.File // nil for none
	what  string
	next  time.Time // when the line is written next
	drawn bool
}

// newProgress begins one on standard error.
func (a *app) newProgress(what string) *progress {
	p := &progress{what: what, next: time.Now().Add(500 * time.Millisecond)}
	if terminal(a.stderr) {
		p.w = a.stderr
	}
	return p
}

// count says how many of all things are done, and how many of these are not as they should be.
func (p *progress) count(done, all, bad int) {
	if p.w == nil {
		return
	}
	text := fmt.Sprintf("%s: %s %d of %d", p.what, bar(int64(done), int64(all)), done, all)
	if bad > 0 {
		text += fmt.Sprintf(", %d not the same", bad)
	}
	p.drawn = true
	_, _ = io.WriteString(p.w, "\r\x1b[K"+cut(text, widthOf(p.w)-1)) // only for show
}

// at says that so many bytes of all are done; all is 0 if that is not known.
func (p *progress) at(done, all int64) {
	if p.w == nil || time.Now().Before(p.next) {
		return
	}
	p.next, p.drawn = time.Now().Add(100*time.Millisecond), true
	text := fmt.Sprintf("%s: %d MB", fsdiff.Escape(p.what), done>>20)
	if all > 0 {
		all = max(all, done) // it may have grown since it was measured
		text = fmt.Sprintf("%s: %s %d of %d MB", fsdiff.Escape(p.what), bar(done, all), done>>20, all>>20)
	}
	_, _ = io.WriteString(p.w, "\r\x1b[K"+cut(text, widthOf(p.w)-1)) // only for show
}

// bar shows how much of all is done.
func bar(done, all int64) string {
	const cells = 20
	return fmt.Sprintf("[%-*s]", cells, strings.Repeat("#", int(cells*done/max(1, all))))
}

// done removes the line.
func (p *progress) done() {
	if p.drawn {
		_, _ = io.WriteString(p.w, "\r\x1b[K")
	}
}
