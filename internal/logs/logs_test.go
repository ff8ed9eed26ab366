package logs

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

// PKG8: levels for all categories and for one; Setup reports what it does not understand.
func TestSetup(t *testing.T) {
	defer func() { loggers = nil }()
	for _, c := range []struct{ setting, wrong, want string }{
		{"", "", ""},
		{"debug", "", "world:debug world:warn netfilter:debug netfilter:warn"},
		{"world=debug,netfilter=warn", "", "world:debug world:warn netfilter:warn"},
		{"warn, world=debug", "", "world:debug world:warn netfilter:warn"},
		{"debug,world=off", "", "netfilter:debug netfilter:warn"},
		{"loud,world=debug", `unknown level "loud"`, "world:debug world:warn"},
		{"wolrd=debug,warn", `unknown category "wolrd"; want one of world, overlay,`, "world:warn netfilter:warn"},
	} {
		var out bytes.Buffer
		err := Setup(c.setting, &out)
		if (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("Setup(%q) = %v, want %q", c.setting, err, c.wrong)
		}
		for _, category := range []string{"world", "netfilter"} {
			For(category).Debug("x")
			For(category).Warn("x")
		}
		var got []string
		for line := range strings.Lines(out.String()) {
			words := strings.Split(strings.TrimSpace(line), ": ")
			got = append(got, words[2]+":"+words[1])
		}
		if text := strings.Join(got, " "); text != c.want {
			t.Errorf("Setup(%q): %q, want %q", c.setting, text, c.want)
		}
	}
}

// PKG8: a line looks like one of our messages, whatever it contains.
func TestLine(t *testing.T) {
	defer func() { loggers = nil }()
	var out bytes.Buffer
	if err := Setup("debug", &out); err != nil {
		t.Fatal(err)
	}
	For("trace").With("a", 1).WithGroup("g").Info("two\nlines \x1b[31m \"é\"", "b", "x y", "c", "", slog.Group("h", "d", "e=f"), "f", "plain")
	const want = `substrate: info: trace: two\nlines \x1b[31m \"é\" a=1 g.b="x y" g.c="" g.h.d="e=f" g.f=plain` + "\n"
	if out.String() != want {
		t.Errorf("got  %qwant %q", out.String(), want)
	}
}

func TestSilentWithoutSetup(t *testing.T) {
	loggers = nil
	if For("world").Enabled(t.Context(), slog.LevelError) {
		t.Error("a logger writes before Setup")
	}
}
