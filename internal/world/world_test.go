package world

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"substrate/fsdiff"
	"substrate/internal/testenv"
)

// testSpec describes a world whose state lies in dir. Its name is made from dir: tests that run at
// the same time share cgroups and named network namespaces.
func testSpec(t testing.TB, dir string) Spec {
	t.Helper()
	cwd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return Spec{
		Name: NameOf(dir + "/"), Cwd: cwd, Root: os.Geteuid() == 0,
		Dirs: Dirs{Run: []string{dir + "/run"}, Overlay: []string{dir + "/overlay"}},
	}
}

// WLD1, DIF1, NET3: the shortest complete path: a command creates, deletes and calls out, and
// nothing reaches the host.
func TestRun(t *testing.T) {
	asBoth(t, func(t *testing.T) {
		base := testenv.TempDir(t)
		project := filepath.Join(base, "project")
		if err := errors.Join(os.Mkdir(project, 0o755), os.WriteFile(filepath.Join(project, "old"), []byte("old"), 0o644)); err != nil {
			t.Fatal(err)
		}
		spec := testSpec(t, t.TempDir())
		spec.Cwd = project
		w, err := New(spec)
		if err != nil {
			t.Fatal(err)
		}
		const script = "echo x > new; rm old; cat < /dev/tcp/192.0.2.1/80; exit 3"
		res, err := w.Run(Command{Path: "bash", Argv: []string{"bash", "-c", script}, Dir: project, Env: []string{"PATH=/usr/bin:/bin"}, Umask: 0o22})
		if err = errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
		var changes []string
		for i := range res.Diff.Entries {
			changes = append(changes, fsdiff.Line(&res.Diff.Entries[i]))
		}
		if got, want := fmt.Sprintf("%q", changes), `["+ new" "- old"]`; strings.ReplaceAll(got, `"  `, `"`) != want {
			t.Errorf("changes are %s, want %s", got, want)
		}
		if got := fmt.Sprint(res.Blocked); res.Exit != 3 || got != "[192.0.2.1:80/tcp]" {
			t.Errorf("status %d, blocked %s; want 3 and [192.0.2.1:80/tcp]", res.Exit, got)
		}
		if text, err := os.ReadFile(filepath.Join(project, "old")); err != nil || string(text) != "old" {
			t.Errorf("the host's file reads %q, %v", text, err)
		}
		if _, err := os.Lstat(filepath.Join(project, "new")); !os.IsNotExist(err) {
			t.Errorf("the new file is on the host: %v", err)
		}
	})
}

// RPL9: only callers that watch the set-up learn why the kernel's log may show nothing.
func TestKernelLogSettings(t *testing.T) {
	asBoth(t, func(t *testing.T) {
		for _, watched := range []bool{false, true} {
			spec := testSpec(t, t.TempDir())
			if watched {
				spec.Observe = func(Step) {}
			}
			w, err := New(spec)
			if err != nil {
				t.Fatal(err)
			}
			res, err := w.Run(Command{Path: "/bin/true", Argv: []string{"true"}, Dir: "/", Umask: 0o22})
			if err = errors.Join(err, w.Close()); err != nil {
				t.Fatal(err)
			}
			for _, s := range logSettings {
				text, _ := os.ReadFile(s.path)
				want := watched && strings.TrimSpace(string(text)) == s.hides
				got := slices.Contains(res.Degraded, Degradation{Name: s.name, Message: s.message})
				if got != want {
					t.Errorf("watched %v, %s reads %q: warned is %v, want %v", watched, s.path, text, got, want)
				}
			}
		}
	})
}

func BenchmarkTrue(b *testing.B) {
	dir := b.TempDir()
	for b.Loop() {
		w, err := New(testSpec(b, dir))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := w.Run(Command{Path: "/bin/true", Argv: []string{"true"}, Dir: "/", Umask: 0o22}); err != nil {
			b.Fatal(err)
		}
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
