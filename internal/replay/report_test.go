package replay

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"substrate/fsdiff"
	"substrate/internal/world"
	"substrate/internal/world/net/netlog"
	"substrate/trace"
)

// diffOf makes a diff below /w from kinds and absolute paths.
func diffOf(changes ...string) *fsdiff.Diff {
	b := fsdiff.New("/w", "overlay", 0)
	kinds := map[string]fsdiff.Kind{"+": fsdiff.Create, "~": fsdiff.Modify, "-": fsdiff.Delete, "!": fsdiff.TypeChange}
	for _, c := range changes {
		b.Add(c[1:], kinds[c[:1]], fsdiff.Meta{FileType: fsdiff.File, Mode: "0644"}, nil)
	}
	return b.Finish()
}

// RPL7: what was not recorded is never the same.
func TestCompare(t *testing.T) {
	recorded := func(exit, signal int, d *fsdiff.Diff) trace.Record {
		return trace.Record{Completion: &trace.Completion{Exit: exit, TermSignal: signal, FSDiff: d}}
	}
	const no = "not recorded"
	tests := []struct {
		name   string
		span   trace.Record
		res    world.Result
		result string
		exit   string
		files  string
	}{
		{"same on the host", recorded(3, 0, nil), world.Result{Exit: 3}, "same", "same", no},
		{"exit", recorded(0, 0, nil), world.Result{Exit: 1}, "differs", "recorded 0, now 1", no},
		{"signal", recorded(143, 15, nil), world.Result{Exit: 143}, "differs", "recorded 143 (signal 15), now 143", no},
		{"incomplete", trace.Record{}, world.Result{}, no, no, no},
		{"files not recorded", recorded(0, 0, nil), world.Result{Diff: diffOf("+/w/a")}, "same", "same", no},
		{"files same", recorded(0, 0, diffOf("+/w/a", "-/b")), world.Result{Diff: diffOf("+/w/a", "-/b")}, "same", "same", "same"},
		{
			"kind", recorded(0, 0, diffOf("+/w/a")),
			world.Result{Diff: diffOf("~/w/a")},
			"differs", "same", "a changed differently",
		},
		{
			"more and less", recorded(0, 0, diffOf("+/w/a", "+/w/b")),
			world.Result{Diff: diffOf("+/w/b", "+/w/c")},
			"differs", "same", "a and 1 more changed differently",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Compare(tt.span, nil, &Run{Exit: tt.res.Exit, TermSignal: tt.res.Signal, FSDiff: tt.res.Diff}, nil)
			want := &trace.Verdict{Result: tt.result, Exit: tt.exit, Stdout: no, Stderr: no, Files: tt.files}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("verdict differs (-want +got):\n%s", d)
			}
		})
	}
}

// TRC5: scopes hold absolute paths, refused addresses and refused names.
func TestScopes(t *testing.T) {
	res := &world.Result{
		Diff: diffOf("+/w/a", "~/etc/x", "-/w/sub/gone", "!/w/t", "+/w/\xff"),
		Blocked: []netlog.Event{
			{Proto: "tcp", Dst: netip.MustParseAddr("192.0.2.1"), Port: 443},
			{Proto: "udp", Dst: netip.MustParseAddr("2001:db8::1"), Port: 53},
		},
		Lookups: []string{"example.com"},
	}
	want := []string{
		"fs.write:/etc/x", "fs.write:/w/a", "fs.delete:/w/sub/gone", "fs.write:/w/t", `fs.write:/w/\xff`,
		"net.block:192.0.2.1:443/tcp", "net.block:[2001:db8::1]:53/udp", "net.block:example.com:53/udp",
	}
	if d := cmp.Diff(want, Scopes("/w", res)); d != "" {
		t.Errorf("scopes differ (-want +got):\n%s", d)
	}
	if got := Scopes("/", &world.Result{}); got == nil || len(got) != 0 {
		t.Errorf("Scopes of nothing = %#v, want an empty list that is not nil", got)
	}
}

// RPL9: each degradation is in degraded_components once.
func TestDegraded(t *testing.T) {
	got := Degraded(&world.Result{Degraded: []world.Degradation{{Name: "nft"}, {Name: "cgroup"}, {Name: "nft"}}})
	if d := cmp.Diff([]string{"nft", "cgroup"}, got); d != "" {
		t.Errorf("names differ (-want +got):\n%s", d)
	}
}

// RPL6: a file was made by the recorded run only if its time lies within that run.
func TestStillThere(t *testing.T) {
	end := time.Date(2025, 9, 10, 2, 20, 33, 500, time.UTC)
	span := trace.Record{TS: trace.FormatTime(end), Completion: &trace.Completion{DurationMS: 100}}
	tests := map[string]struct {
		kind   fsdiff.Kind
		before time.Time
		want   string
	}{
		"made by it":     {fsdiff.Modify, end.Add(-50 * time.Millisecond), "a"},
		"older":          {fsdiff.Modify, end.Add(-time.Second), ""},
		"changed since":  {fsdiff.Modify, end.Add(time.Second), ""},
		"deleted by now": {fsdiff.Delete, end.Add(-50 * time.Millisecond), ""},
	}
	for name, tt := range tests {
		d := diffOf()
		d.Entries = []fsdiff.Entry{{Path: "a", Kind: tt.kind, Before: &fsdiff.Meta{Mtime: trace.FormatTime(tt.before)}}}
		if got := StillThere(span, &world.Result{Diff: d}); got != tt.want {
			t.Errorf("%s: StillThere = %q, want %q", name, got, tt.want)
		}
	}
	if got := StillThere(span, &world.Result{}); got != "" {
		t.Errorf("StillThere without a diff = %q", got)
	}
}
