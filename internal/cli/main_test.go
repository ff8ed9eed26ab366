package cli

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"substrate/internal/config"
	"substrate/internal/version"
)

// testApp is an app that writes to files.
func testApp(t *testing.T, args ...string) *app {
	t.Helper()
	dir := t.TempDir()
	file := func(name string) *os.File {
		f, err := os.Create(dir + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	return &app{
		stdin: file("stdin"), stdout: file("stdout"), stderr: file("stderr"), args: args,
		name: "substrate", cfg: config.Config{Home: dir},
	}
}

// written returns what the app wrote to a file.
func written(t *testing.T, f *os.File) string {
	t.Helper()
	text, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The list of the hot path has all subcommands of the tree.
func TestSubcommandsAreKnown(t *testing.T) { // REC2
	root := newRoot(testApp(t))
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	var tree []string
	for _, c := range root.Commands() {
		tree = append(tree, c.Name())
		tree = append(tree, c.Aliases...)
	}
	list := slices.DeleteFunc(slices.Clone(subcommands[:]), func(s string) bool { return strings.HasPrefix(s, "__") })
	slices.Sort(tree)
	slices.Sort(list)
	if !slices.Equal(tree, list) {
		t.Errorf("subcommands are %q, the tree has %q", list, tree)
	}
}

func TestTranslate(t *testing.T) { // RPL1, TRC9, DOC1
	for args, want := range map[string]string{
		"--replay X":                              "replay X",
		"--replay=X":                              "replay X",
		"--replay-verbose --replay X":             "replay --verbose X",
		"--replay X --replay-verbose --world":     "replay --verbose --world X",
		"--timeout 5s --replay X --json":          "replay --timeout 5s --json X",
		"--trace X":                               "trace show X",
		"--trace X --json":                        "trace show --json X",
		"--doctor":                                "world doctor",
		"--doctor --json":                         "world doctor --json",
		"-c --replay X":                           "",
		"-c CMD --replay X":                       "",
		"--login -c CMD --replay X":               "",
		"--ci -c CMD --replay X":                  "",
		"--shell /bin/bash -c CMD name --trace X": "",
		"-- --replay X":                           "",
		"script --replay X":                       "",
		"":                                        "",
	} {
		got, ours, err := translate(strings.Fields(args))
		if err != nil || strings.Join(got, " ") != want || ours != (want != "") {
			t.Errorf("translate(%q) = %q, %v, %v, want %q", args, got, ours, err, want)
		}
	}
	for _, args := range []string{"--replay", "--trace"} {
		if _, _, err := translate([]string{args}); err == nil {
			t.Errorf("translate(%q) gave no error", args)
		}
	}
}

func TestMessages(t *testing.T) {
	for _, test := range []struct {
		err    error
		status int
		want   string
	}{
		{errors.New("x"), 125, "substrate: error: x\n"},
		{&failure{err: errors.New("x"), hint: "y"}, 125, "substrate: error: x\nsubstrate: hint: y\n"},
		{&failure{err: errors.New("x"), status: 126}, 126, "substrate: error: x\n"},
		{usagef("x %d", 1), 2, "substrate: error: x 1\nsubstrate: hint: run `substrate --help`\n"},
	} {
		a := testApp(t)
		if got := a.report(test.err); got != test.status || written(t, a.stderr) != test.want {
			t.Errorf("report(%v) = %d, wrote %q, want %d, %q", test.err, got, written(t, a.stderr), test.status, test.want)
		}
	}
}

func TestHelpAndVersion(t *testing.T) {
	for arg, want := range map[string]string{"--help": "To record, give it what you would give bash", "--version": "substrate " + version.Version} {
		a := testApp(t, arg)
		if status := a.run(); status != 0 || !strings.Contains(written(t, a.stdout), want) || written(t, a.stderr) != "" {
			t.Errorf("%s: status %d, stdout %q, stderr %q", arg, status, written(t, a.stdout), written(t, a.stderr))
		}
	}
	a := testApp(t, "replay")
	if status := a.run(); status != exitUsage {
		t.Errorf("replay without a span: status %d, want %d", status, exitUsage)
	}
}
