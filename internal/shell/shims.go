package shell

import (
	"strings"

	"substrate/internal/config"
	"substrate/internal/plain"
)

// shimsFirst returns env with dir, the directory of the shims, first on PATH, and the PATH without
// it in SHIM_ORIGINAL_PATH. If dir is "" or env has no PATH, it returns env itself.
//
// Source: SHM7.
func shimsFirst(env []string, dir string) []string {
	if dir == "" {
		return env
	}
	out, found, original := make([]string, 0, len(env)+1), false, ""
	for _, entry := range env {
		if strings.HasPrefix(entry, plain.VarOriginalPath+"=") {
			continue
		}
		if path, ok := strings.CutPrefix(entry, "PATH="); ok {
			first, without := config.ShimsFirst(path, dir)
			if first != path || without != path {
				entry, original, found = "PATH="+first, without, true
			}
		}
		out = append(out, entry)
	}
	if !found {
		return env
	}
	return append(out, plain.VarOriginalPath+"="+original)
}
