package shell

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestShimsFirst(t *testing.T) { // SHM7
	const dir = "/h/.substrate/shims"
	tests := []struct {
		name      string
		env, want []string
	}{
		{"ordinary", []string{"A=1", "PATH=/bin", "B=2"}, []string{"A=1", "PATH=" + dir + ":/bin", "B=2", "SHIM_ORIGINAL_PATH=/bin"}},
		{
			"inside another",
			[]string{"PATH=/venv:" + dir + ":/bin", "SHIM_ORIGINAL_PATH=/bin"},
			[]string{"PATH=" + dir + ":/venv:/bin", "SHIM_ORIGINAL_PATH=/venv:/bin"},
		},
		{"already first", []string{"PATH=" + dir + ":/bin"}, []string{"PATH=" + dir + ":/bin", "SHIM_ORIGINAL_PATH=/bin"}},
		{"no PATH", []string{"A=1", "XPATH=/bin"}, []string{"A=1", "XPATH=/bin"}},
		{"empty PATH", []string{"PATH="}, []string{"PATH="}},
	}
	for _, test := range tests {
		if diff := cmp.Diff(test.want, shimsFirst(test.env, dir)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
		if diff := cmp.Diff(test.env, shimsFirst(test.env, "")); diff != "" {
			t.Errorf("%s, without a directory (-want +got):\n%s", test.name, diff)
		}
	}
}
