package trace

import (
	"bytes"
	"errors"
	"io/fs"

	"substrate/internal/plain"
)

// LastReplay returns the complete line of the newest replay of the span that was carried out, or
// nil if there is none. It reads from the end of the trace back to the span itself.
func (r *Reader) LastReplay(id string) (*Record, error) {
	r.skipped = make(map[at]bool)
	defer func() { r.skipped = nil }()
	b := plain.Growing(nil)
	quoted := b.JSON(id).Bytes
	own := bytes.Trim(quoted, `"`)
	var found *Record
	err := r.backwards(search{}, func(src source, l line) bool {
		if bytes.Contains(l.text, []byte(`"replay_of"`)) && bytes.Contains(l.text, quoted) {
			record := r.decode(src, l, 0)
			if record != nil && record.ReplayOf == id && record.Completion != nil && record.ReplayContext != nil && record.ReplayContext.Verdict != nil {
				found = record
			}
			return found != nil
		}
		return hasSpanID(l.text, own) // replays of a span come after it
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return found, err
}
