package environ

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var sample = List{"A=1", "PATH=/bin", "A=2", "rubbish", "AB=3", "E=", "=x"}

func TestLookup(t *testing.T) {
	for name, want := range map[string]string{"A": "1", "AB": "3", "PATH": "/bin", "E": ""} {
		if got, set := sample.Lookup(name); got != want || !set || sample.Get(name) != want {
			t.Errorf("Lookup(%s) = %q, %v, want %q", name, got, set, want)
		}
	}
	if got, set := sample.Lookup("rubbish"); got != "" || set {
		t.Errorf("Lookup of what is not set = %q, %v", got, set)
	}
}

func TestMap(t *testing.T) {
	want := map[string]string{"A": "1", "PATH": "/bin", "AB": "3", "E": "", "": "x"}
	if diff := cmp.Diff(want, sample.Map()); diff != "" {
		t.Errorf("Map differs (-want +got):\n%s", diff)
	}
}

func TestWithout(t *testing.T) {
	before := slices.Clone(sample)
	got := append(sample.Without(func(name string) bool { return name == "A" }), "A=new")
	if want := (List{"PATH=/bin", "rubbish", "AB=3", "E=", "=x", "A=new"}); !slices.Equal(got, want) {
		t.Errorf("Without = %q, want %q", got, want)
	}
	if !slices.Equal(sample, before) {
		t.Errorf("Without changed its receiver to %q", sample)
	}
}

func TestCandidates(t *testing.T) {
	for _, test := range []struct {
		path, name string
		want       []string
	}{
		{"/bin:/usr/bin/", "ls", []string{"/bin/ls", "/usr/bin//ls"}},
		{":/bin:", "ls", []string{"./ls", "/bin/ls", "./ls"}},
		{"", "ls", nil},
		{"/bin", "./ls", []string{"./ls"}},
	} {
		if got := slices.Collect(Candidates(test.path, test.name)); !slices.Equal(got, test.want) {
			t.Errorf("Candidates(%q, %q) = %q, want %q", test.path, test.name, got, test.want)
		}
	}
}
