package cli

import (
	"context"
	"log/slog"
	"os"
	"strings"

	"substrate/internal/logs"
	"substrate/internal/world"
)

// startLogs does what SUBSTRATE_LOG says (PKG8).
func (a *app) startLogs() {
	if err := logs.Setup(a.cfg.Log, stderrWriter{a.stderr}); err != nil {
		a.warn("SUBSTRATE_LOG: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
}

// stderrWriter writes past os.File, as messages are written: nobody may be reading any more.
type stderrWriter struct{ f *os.File }

// Write never fails: a line that nobody reads is lost.
func (w stderrWriter) Write(line []byte) (int, error) {
	writePast(w.f, line)
	return len(line), nil
}

// logStep logs a step of a world's set-up.
func logStep(s world.Step) {
	level := slog.LevelDebug
	if !s.OK {
		level = slog.LevelWarn
	}
	logs.For(logCategory(s.Name)).Log(context.Background(), level, s.Name, "detail", s.Detail)
}

// logResult logs what a world had to do without.
func logResult(res *world.Result) {
	for _, d := range res.Degraded {
		logs.For(logCategory(d.Name)).Warn("degraded", "component", d.Name, "message", d.Message)
	}
	for _, reason := range res.Fallbacks {
		logs.For("overlay").Warn("strategy not taken", "reason", reason)
	}
	logs.For("world").Debug("ended", "world", res.WorldID, "strategy", res.Strategy, "exit", res.Exit, "duration", res.Duration)
}

// logCategory is the category of a step or a degraded component.
func logCategory(name string) string {
	switch strings.FieldsFunc(name+" ", func(r rune) bool { return strings.ContainsRune(" .-", r) })[0] {
	case "overlay", "fuse", "copy", "fs", "diff", "strategy":
		return "overlay"
	case "netns", "nft", "netlog", "net", "dns", "dmesg", "nf_log":
		return "netfilter"
	case "cgroup", "limit":
		return "cgroups"
	}
	return "world"
}
