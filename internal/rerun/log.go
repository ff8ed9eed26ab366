package rerun

import (
	"context"
	"log/slog"
	"strings"

	"substrate/internal/logs"
	"substrate/internal/world"
)

// logStep logs a step of the set-up of a world.
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
