package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Settings is what the file ~/.substrate/settings.json says. The zero value is that of no file.
type Settings struct {
	Shims ShimSettings `json:"shims"`
}

// ShimSettings changes the list of programs that get a shim (SHM2).
type ShimSettings struct {
	Add    []string `json:"add"`
	Remove []string `json:"remove"`
}

// SettingsFile is the path of the file that [LoadSettings] reads; "" without a home.
func (c Config) SettingsFile() string {
	if c.Home == "" || c.Dir == "" {
		return ""
	}
	return filepath.Join(c.Dir, "settings.json")
}

// LoadSettings reads the settings. No file is no error; a file that cannot be understood, down to
// a word that has no meaning here, is one, and names it. It is not for the way to a command:
// commands run whatever the file holds.
func (c Config) LoadSettings() (Settings, error) {
	var s Settings
	path := c.SettingsFile()
	if path == "" {
		return s, nil
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("read settings: %w", err)
	}
	if err := s.decode(text); err != nil {
		return Settings{}, fmt.Errorf("read settings: %s: %w", path, err)
	}
	return s, nil
}

// decode takes the text of the file apart.
func (s *Settings) decode(text []byte) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(s); err != nil {
		if errors.Is(err, io.EOF) {
			return errors.New("no JSON object in it")
		}
		return err
	}
	if d.More() {
		return errors.New("more than one JSON value in it")
	}
	for _, name := range append(append([]string(nil), s.Shims.Add...), s.Shims.Remove...) {
		if !shimName(name) {
			return fmt.Errorf("shims: %q is not the name of a program", name)
		}
	}
	return nil
}

// shimName says whether a link may have this name. Names with a dot in front are ours, and substrate
// must be found as itself.
func shimName(name string) bool {
	return name != "" && len(name) < 200 && name[0] != '.' && !strings.ContainsAny(name, "/\x00") &&
		name != "substrate" && name != "substrate-shim"
}
