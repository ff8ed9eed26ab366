package cli

import (
	"os"
	"strings"

	"substrate/internal/logs"
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
