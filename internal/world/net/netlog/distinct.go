package netlog

// Distinct keeps each attempt once, in the order of first appearance. Two attempts are the same if
// protocol, address and port are; the owner of the first is kept.
// The zero value is ready and holds up to [DefaultMax].
type Distinct struct {
	Max  int  // attempts to keep; 0 means DefaultMax
	More bool // others came after Max

	seen   map[Event]struct{}
	events []Event
}

// DefaultMax is how many attempts a [Distinct] keeps if nothing else is said.
const DefaultMax = 10000

// Add adds what is new in events.
func (d *Distinct) Add(events ...Event) {
	limit := d.Max
	if limit == 0 {
		limit = DefaultMax
	}
	for _, e := range events {
		key := e
		key.UID = 0
		if _, old := d.seen[key]; old {
			continue
		}
		if len(d.events) >= limit {
			d.More = true
			continue
		}
		if d.seen == nil {
			d.seen = make(map[Event]struct{})
		}
		d.seen[key] = struct{}{}
		d.events = append(d.events, e)
	}
}

// Events returns what was added.
func (d *Distinct) Events() []Event { return d.events }
