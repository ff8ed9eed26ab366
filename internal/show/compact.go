package show

import (
	"fmt"
	"strings"

	"substrate/fsdiff"
	"substrate/trace"
)

// Compacted lists what was dropped from each file of a trace, or would be with dryRun.
func Compacted(done []trace.Compacted, dryRun bool) string {
	var b strings.Builder
	var saved int64
	for _, c := range done {
		saved += c.BytesBefore - c.BytesAfter
		fmt.Fprintf(&b, "%s: %s -> %s, dropped %d of %d lines: %d start, %d torn, %d old\n",
			fsdiff.Escape(c.File), bytesText(c.BytesBefore), bytesText(c.BytesAfter), c.Dropped(), c.LinesBefore, c.Started, c.Torn, c.Old)
	}
	verb := "saved"
	if dryRun {
		verb = "would save"
	}
	fmt.Fprintf(&b, "%s %s\n", verb, bytesText(saved))
	return b.String()
}

// bytesText is a number of bytes with a unit.
func bytesText(n int64) string {
	const units = "KMGT"
	if n < 1<<10 {
		return fmt.Sprintf("%d bytes", n)
	}
	f, i := float64(n)/(1<<10), 0
	for ; f >= 1<<10 && i < len(units)-1; i++ {
		f /= 1 << 10
	}
	return fmt.Sprintf("%.1f %ciB", f, units[i])
}
