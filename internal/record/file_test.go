package record

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"substrate/internal/vault"
	"substrate/trace"
)

func TestKeepFile(t *testing.T) { // REC10, RPL6
	cfg := testConfig(t)
	s := New(cfg, noWarning(t)).Begin(Command{Component: trace.ComponentShell, Cmd: "x", Cwd: "/"})
	defer s.End(trace.Completion{})
	dir := filepath.Join(filepath.Dir(cfg.Trace), "replays")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("no secret here\n", 150_000) // three pieces
	for _, text := range []string{"", "plain\xff\x00", long, planted, long + planted + " " + long, strings.Repeat("x", 1<<21) + " " + planted} {
		path := filepath.Join(dir, "f")
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
		stream, err := s.KeepFile(f)
		if err != nil || stream.Bytes != int64(len(text)) || stream.Path != "replays/f" {
			t.Errorf("KeepFile of %d bytes = %+v, %v", len(text), stream, err)
		}
		f.Close()
		got, err := os.ReadFile(path)
		if want := strings.ReplaceAll(text, planted, "‹secret:1›"); string(got) != want || err != nil {
			t.Errorf("a file of %d bytes has %d, want %d, %v", len(text), len(got), len(want), err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.tmp")); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
}

func TestTidy(t *testing.T) { // REC7, RPL6: what commands printed is not kept for ever
	dir := t.TempDir()
	old := time.Now().Add(-vault.KeepFor - time.Hour)
	write := func(name string, at time.Time) {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	write("spn_1.stdout", old)
	write("spn_2.stderr", time.Now())
	write("precious", old)
	Tidy(dir)
	write("spn_3.stdout", old) // it has looked today
	Tidy(dir)
	var names []string
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if got := strings.Join(names, " "); got != ".tidied precious spn_2.stderr spn_3.stdout" {
		t.Errorf("left: %s", got)
	}
	Tidy(filepath.Join(dir, "no such"))
}
