package config

import "substrate/internal/plain"

// ShimsFirst returns path, the value of PATH, with dir, the directory of the shims, in front of it
// exactly once, and path without dir, which is what a shim searches and what a span records. Both
// are path if dir cannot stand in front; see [plain.ShimsFirst].
func ShimsFirst(path, dir string) (first, original string) {
	start, rest := plain.Growing(nil), plain.Growing(nil)
	original, ok := plain.ShimsFirst(path, dir, &start, &rest)
	if !ok {
		return path, path
	}
	return start.String(), original
}
