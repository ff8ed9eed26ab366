package show

import "testing"

func TestBar(t *testing.T) { // DIF7, RPL12
	for _, test := range []struct {
		done, all int64
		want      string
	}{
		{0, 0, "[                    ]"},
		{0, 7, "[                    ]"},
		{1, 2, "[##########          ]"},
		{1 << 50, 1 << 50, "[####################]"},
	} {
		if got := bar(test.done, test.all); got != test.want {
			t.Errorf("bar(%d, %d) = %q, want %q", test.done, test.all, got, test.want)
		}
	}
}
