package world

import (
	"os"
	"testing"
)

// testSpec is a world whose state lies in dir. Its name is made from dir, since cgroups and named network namespaces are one
// for all tests that run at the same time.
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

func TestRun(t *testing.T) {
	w, err := New(testSpec(t, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	res, err := w.Run(Command{Path: "/bin/bash", Argv: []string{"bash", "-c", "echo hi; echo x > file; rm -f world.go; id; cat < /dev/tcp/192.0.2.1/80; ls /run; exit 3"}, Dir: w.spec.Cwd, Env: os.Environ(), Umask: 0o22, Stdout: os.Stdout, Stderr: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v\n%+v", res, res.Diff)
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
