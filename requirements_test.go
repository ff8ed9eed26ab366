package substrate_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// notRequirements look like ids of requirements and are none.
var notRequirements = []string{"AMD64", "EST5", "UTC0", "USR1", "USR2"}

// Each requirement that the code names is on docs/requirements.md, and each one there is named.
func TestRequirements(t *testing.T) {
	const page = "docs/requirements.md"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]string{} // by id, a file that names it
	for _, id := range regexp.MustCompile(`(?m)^\| ([A-Z]+[0-9]+) \|`).FindAllStringSubmatch(string(text), -1) {
		if _, twice := used[id[1]]; twice {
			t.Errorf("%s has %s twice", page, id[1])
		}
		used[id[1]] = ""
	}
	pattern := regexp.MustCompile(`\b[A-Z]{3}[0-9]{1,2}\b`)
	err = filepath.WalkDir(".", func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && path != "." && (strings.HasPrefix(e.Name(), ".") || path == "docs" || path == "bin"):
			return filepath.SkipDir
		case e.IsDir() || path == "requirements_test.go" || !slices.Contains([]string{".go", ".txtar"}, filepath.Ext(path)):
			return nil
		}
		code, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, id := range pattern.FindAllString(string(code), -1) {
			if _, known := used[id]; !known && !slices.Contains(notRequirements, id) {
				t.Errorf("%s names %s, which is not on %s", path, id, page)
			}
			used[id] = path
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for id, path := range used {
		if path == "" {
			t.Errorf("%s explains %s, which no code or test names", page, id)
		}
	}
}
