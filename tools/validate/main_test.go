package main

import "testing"

func TestMatchLine(t *testing.T) {
	for _, c := range []struct {
		pattern, line string
		want          bool
	}{
		{"Exit code: 0", "Exit code: 0", true},
		{"Exit code: 0", "Exit code: 01", false},
		{"[replay] span_id: spn_…", "[replay] span_id: spn_0123", true},
		{"a … b … c", "a 1 b 2 c", true},
		{"a … b … c", "a 1 c 2 b", false},
		{"…c", "abc", true},
		{"ab…bc", "abc", false}, // the parts may not overlap
	} {
		if got := matchLine(c.pattern, c.line); got != c.want {
			t.Errorf("matchLine(%q, %q) = %v, want %v", c.pattern, c.line, got, c.want)
		}
	}
}

func TestMatchWantsOrder(t *testing.T) {
	out := "one\ntwo\nthree\n"
	if err := match([]string{"one", "three"}, out); err != nil {
		t.Errorf("match(one, three) = %v, want nil", err)
	}
	if match([]string{"three", "one"}, out) == nil {
		t.Error("match(three, one) = nil, want an error")
	}
}

func TestBlocks(t *testing.T) {
	got := blocks("text\n```sh validate=a as=root\necho 1\n```\n\n```text expect=a\n1\n```\n")
	if len(got) != 2 || got[0].info["as"] != "root" || got[0].text != "echo 1\n" || got[1].info["expect"] != "a" {
		t.Errorf("blocks = %+v", got)
	}
}
