package world

import (
	"os"
	"testing"
)

func spec(t testing.TB) Spec {
	dir := t.TempDir()
	cwd, _ := os.Getwd()
	return Spec{Name: "spn_test", Dirs: Dirs{Run: []string{dir + "/run"}, Overlay: []string{dir + "/ov"}}, Cwd: cwd, Root: os.Geteuid() == 0}
}

func TestRun(t *testing.T) {
	w, err := New(spec(t))
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
	for b.Loop() {
		w, err := New(spec(b))
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
