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

	"substrate/internal/plain"
)

// Settings is the content of ~/.substrate/settings.json. The zero value stands for no file.
type Settings struct {
	Shims ShimSettings `json:"shims"`
}

// ShimSettings change the list of programs that get a shim (SHM2).
type ShimSettings struct {
	Add    []string `json:"add"`
	Remove []string `json:"remove"`
}

// SettingsFile is the path of the file that [Config.LoadSettings] reads; "" without a home.
func (c Config) SettingsFile() string {
	if c.Home == "" || c.Dir == "" {
		return ""
	}
	return filepath.Join(c.Dir, "settings.json")
}

// LoadSettings reads the settings. A missing file is no error. The error names what is wrong in the
// file, including unknown words. Only code that deploys shims calls it: commands run whatever the
// file holds.
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

// decode parses the text of the file.
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

// shimName reports whether a link may have this name. Names that begin with a dot are ours, and
// nothing may stand in front of substrate itself.
func shimName(name string) bool {
	return name != "" && len(name) < 200 && name[0] != '.' && !strings.ContainsAny(name, "/\x00") &&
		name != "substrate" && name != plain.ShimProgram
}
