package probe

import "testing"

// DOC1: where the kernel allows it, a namespace with rights is made; where it does not, cause and remedy are named.
func TestTryUserns(t *testing.T) {
	c := TryUserns()
	if c.OK != (c.Reason == "") || c.OK == (c.Remedy != "") {
		t.Errorf("TryUserns = %+v: want a reason and a remedy, or neither", c)
	}
}
