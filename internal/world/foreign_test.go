package world

import (
	"os"
	"path/filepath"
	"testing"

	"substrate/internal/testenv"
)

// WLD1, WLD2: in a user's world the user may write where they may on the host, also where the
// directory or those above belong to somebody else, whom the user namespace cannot map.
func TestForeignOwners(t *testing.T) {
	const place = "SUBSTRATE_TEST_FOREIGN"
	if os.Getenv(place) == "" {
		testenv.NeedRoot(t) // to make what belongs to others
		base := t.TempDir()
		for d := base; d != "/" && d != "/tmp"; d = filepath.Dir(d) {
			if err := os.Chmod(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		for _, d := range []struct {
			name string
			uid  int
			mode os.FileMode
		}{{"team", 0, 0o755}, {"team/alice", testenv.UID, 0o755}, {"team/alice/project", testenv.UID, 0o755}, {"home", 0, 0o755}, {"home/alice", testenv.UID, 0o700}, {"shared", 0, 0o777}} {
			path := filepath.Join(base, d.name)
			if err := os.Mkdir(path, d.mode); err != nil {
				t.Fatal(err)
			}
			if err := os.Chown(path, d.uid, d.uid); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, d.mode); err != nil {
				t.Fatal(err)
			}
		}
		t.Setenv(place, base)
	}
	testenv.AsUser(t, func(t *testing.T) {
		base := os.Getenv(place)
		spec := testSpec(t, t.TempDir())
		spec.Cwd = base + "/team/alice/project"
		spec.Likely = []string{base + "/home/alice", base + "/shared"}
		w, err := New(spec)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := w.Close(); err != nil {
				t.Error(err)
			}
		}()
		const script = `set -e; echo a > here; echo b > ../beside; echo c > "$B/home/alice/f"; echo d > "$B/shared/g"; echo e > /var/tmp/substrate-test-h
			! echo f > "$B/team/no"; ! echo g > "$B/home/no"; ! mkdir "$B/no"; rm here; echo i > here`
		res, err := w.Run(Command{Path: "/bin/bash", Argv: []string{"bash", "-c", script}, Dir: spec.Cwd, Env: []string{"B=" + base, "PATH=/usr/bin:/bin"}, Umask: 0o22, Stderr: os.Stderr})
		if err != nil {
			t.Fatal(err)
		}
		if res.Exit != 0 {
			t.Errorf("exit is %d, want 0", res.Exit)
		}
		want := []string{base + "/home/alice/f", base + "/shared/g", base + "/team/alice/beside", "/var/tmp/substrate-test-h", "here"}
		var got []string
		for _, e := range res.Diff.Entries {
			if e.Kind != "create" {
				t.Errorf("%s is a %s, want only creates", e.Path, e.Kind)
			}
			got = append(got, e.Path)
		}
		if len(got) != len(want) {
			t.Fatalf("changes are %q, want %q", got, want)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("change %d is %q, want %q", i, got[i], want[i])
			}
		}
	})
}
