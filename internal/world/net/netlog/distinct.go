package netlog

// Distinct keeps each attempt once, in the order of first appearance, at most [MaxEvents]. Two
// attempts are the same if protocol, address and port are; the owner of the first is kept. The zero
// value is ready.
type Distinct struct {
	More bool // others came after MaxEvents

	seen   map[Event]struct{}
	events []Event
}

// MaxEvents is how many attempts a [Distinct] keeps.
const MaxEvents = 10000

// Add adds the events that are new.
func (d *Distinct) Add(events ...Event) {
	for _, e := range events {
		key := e
		key.UID = 0
		if _, old := d.seen[key]; old {
			continue
		}
		if len(d.events) >= MaxEvents {
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
