package cli

import (
	"os"
	"strings"

	"substrate/internal/logs"
)

// startLogs sets up the log that SUBSTRATE_LOG asks for (PKG8).
func (a *app) startLogs() {
	if err := logs.Setup(a.cfg.Log, stderrWriter{a.stderr}); err != nil {
		a.warn("SUBSTRATE_LOG: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
}

// stderrWriter writes to a file as [message] does, so that SIGPIPE cannot end the program.
type stderrWriter struct{ f *os.File }

// Write returns no error: a line that nobody reads is lost.
func (w stderrWriter) Write(line []byte) (int, error) {
	writePast(w.f, line)
	return len(line), nil
}
