package config

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLoadSettings(t *testing.T) { // SHM2
	home := t.TempDir()
	cfg := load([]string{"HOME=" + home}, user(7, false))
	if got, err := cfg.LoadSettings(); err != nil || !cmp.Equal(got, Settings{}) {
		t.Errorf("without a file: %+v, %v", got, err)
	}
	if err := os.Mkdir(cfg.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	set := func(text string) {
		t.Helper()
		if err := os.WriteFile(cfg.SettingsFile(), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set(`{"shims": {"add": ["terraform", "é"], "remove": ["codex"]}}`)
	want := Settings{Shims: ShimSettings{Add: []string{"terraform", "é"}, Remove: []string{"codex"}}}
	if got, err := cfg.LoadSettings(); err != nil || !cmp.Equal(got, want) {
		t.Errorf("LoadSettings = %+v, %v; want %+v", got, err, want)
	}
	for _, text := range []string{
		"", "null x", "[]", `{"shim": {}}`, `{"shims": {"add": "x"}}`, `{"shims": {"add": ["a/b"]}}`, `{"shims": {"add": [".version"]}}`,
		`{"shims": {"remove": [""]}}`, `{"shims": {"add": ["substrate"]}}`, `{"shims": {}} {}`, `{"shims": {"add": ["a\u0000"]}}`,
	} {
		set(text)
		if got, err := cfg.LoadSettings(); err == nil || !strings.Contains(err.Error(), cfg.SettingsFile()) || !cmp.Equal(got, Settings{}) {
			t.Errorf("LoadSettings of %q = %+v, %v; want an error that names the file", text, got, err)
		}
	}
	cfg.Home = ""
	if got := cfg.SettingsFile(); got != "" {
		t.Errorf("SettingsFile without a home = %q", got)
	}
}
