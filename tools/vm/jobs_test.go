package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestJobs: a test or script that was renamed or moved must not fall out of the jobs.
func TestJobs(t *testing.T) {
	top := filepath.Join("..", "..")
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	for _, job := range tests {
		var names []string
		files, err := filepath.Glob(filepath.Join(top, job.pkg, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, match := range declared.FindAllSubmatch(text, -1) {
				names = append(names, string(match[1]))
			}
		}
		for _, one := range strings.Fields(job.run) {
			matches := regexp.MustCompile(oneOf(one)).MatchString
			found := false
			for _, name := range names {
				found = found || matches(name)
			}
			if !found {
				t.Errorf("%s has no test %s", job.pkg, one)
			}
		}
		for _, script := range strings.Fields(job.scripts) {
			if _, err := os.Stat(filepath.Join(top, job.pkg, "testdata", "script", script+".txtar")); err != nil {
				t.Errorf("%s has no script %s", job.pkg, script)
			}
		}
	}
}
