package main

import (
	"os"
	"path/filepath"
)

// installed is a directory with both programs, as a package installs them: there the first command
// deploys shims.
func installed() string { return filepath.Join(filepath.Dir(program), "installed") }

// install makes dir a directory of that kind.
func install(dir, substrate, shim string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, from := range map[string]string{"substrate": substrate, "substrate-shim": shim} {
		text, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o755); err != nil {
			return err
		}
	}
	return nil
}
