package main

import (
	"errors"
	"os"
	"path/filepath"
)

// installed is a directory with both programs, as a package installs them: there the first command
// deploys shims.
func installed() string { return filepath.Join(filepath.Dir(program), "installed") }

// install makes dir a directory of that kind.
func install(dir, substrate, shim string) error {
	return errors.Join(copyProgram(substrate, filepath.Join(dir, "substrate")), copyProgram(shim, filepath.Join(dir, "substrate-shim")))
}

// copyProgram copies an executable file and makes the directory that it goes into.
func copyProgram(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o755)
}
