// Package logs writes the steps of the program to standard error if SUBSTRATE_LOG is set.
//
// The program calls [Setup] with the value of that variable. Code calls [For] to get the logger of
// its category. Without Setup all loggers are silent. A line looks like our other messages:
//
//	substrate: debug: world: overlay detail=ok
package logs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Categories are the names that SUBSTRATE_LOG accepts.
//
// Source: PKG8.
var Categories = []string{"world", "overlay", "netfilter", "cgroups", "trace", "shim"}

// off is a level above all others.
const off = slog.LevelError + 100

// loggers are the loggers by category after Setup; a category that is off has none.
var loggers map[string]*slog.Logger

// Setup reads a value of SUBSTRATE_LOG: levels (debug, info, warn, error, off) separated by commas,
// each for all categories or as category=level for one. The error names the parts that Setup does
// not understand; it uses the others. Loggers write to w, each line with one write. Call Setup
// before other goroutines call [For].
func Setup(setting string, w io.Writer) error {
	general := off
	levels := make(map[string]slog.Level)
	var errs []error
	for part := range strings.SplitSeq(setting, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		category, name, one := strings.Cut(part, "=")
		if !one {
			category, name = "", part
		}
		level, err := parseLevel(name)
		switch {
		case err != nil:
			errs = append(errs, err)
		case !one:
			general = level
		case !slices.Contains(Categories, category):
			errs = append(errs, fmt.Errorf("unknown category %q; want one of %s", category, strings.Join(Categories, ", ")))
		default:
			levels[category] = level
		}
	}
	loggers = make(map[string]*slog.Logger)
	mu := new(sync.Mutex)
	for _, c := range Categories {
		level, own := levels[c]
		if !own {
			level = general
		}
		if level != off {
			loggers[c] = slog.New(&handler{mu: mu, w: w, category: c, level: level})
		}
	}
	return errors.Join(errs...)
}

func parseLevel(name string) (slog.Level, error) {
	switch strings.ToLower(name) {
	case "debug", "trace":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn", "warning":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	case "off":
		return off, nil
	}
	return off, fmt.Errorf("unknown level %q; want debug, info, warn, error or off", name)
}

// For returns the logger of a category. It is never nil.
func For(category string) *slog.Logger {
	if l := loggers[category]; l != nil {
		return l
	}
	return slog.New(slog.DiscardHandler)
}

// handler writes records as lines.
type handler struct {
	mu       *sync.Mutex
	w        io.Writer
	category string
	level    slog.Level
	attrs    string // of the logger, ready to be written
	group    string // before the names of attributes, with a dot
}

// Enabled reports whether a record of that level is written.
func (h *handler) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level }

// Handle writes a record.
func (h *handler) Handle(_ context.Context, r slog.Record) error {
	line := "substrate: " + strings.ToLower(r.Level.String()) + ": " + h.category + ": " + oneLine(r.Message) + h.attrs
	r.Attrs(func(a slog.Attr) bool {
		line += h.text(a)
		return true
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := io.WriteString(h.w, line+"\n")
	return err
}

// WithAttrs returns a handler that writes attrs in each line.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := *h
	for _, a := range attrs {
		next.attrs += h.text(a)
	}
	return &next
}

// WithGroup returns a handler that puts name before the names of attributes.
func (h *handler) WithGroup(name string) slog.Handler {
	next := *h
	if name != "" {
		next.group += name + "."
	}
	return &next
}

// text returns an attribute as " name=value".
func (h *handler) text(a slog.Attr) string {
	v := a.Value.Resolve()
	if a.Equal(slog.Attr{}) {
		return ""
	}
	if v.Kind() == slog.KindGroup {
		inner, text := *h, ""
		if a.Key != "" {
			inner.group += a.Key + "."
		}
		for _, member := range v.Group() {
			text += inner.text(member)
		}
		return text
	}
	value := v.String()
	if value == "" || oneLine(value) != value || strings.ContainsAny(value, ` "=`) {
		value = strconv.Quote(value)
	}
	return " " + h.group + oneLine(a.Key) + "=" + value
}

// oneLine escapes what would break the line or control a terminal.
func oneLine(s string) string {
	quoted := strconv.Quote(s)
	if quoted = quoted[1 : len(quoted)-1]; strings.ReplaceAll(strings.ReplaceAll(quoted, `\"`, `"`), `\\`, `\`) == s {
		return s
	}
	return quoted
}
