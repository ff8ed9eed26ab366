package record

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"substrate/fsdiff"
	"substrate/internal/config"
	"substrate/internal/vault"
	"substrate/trace"
)

// planted is a token that was made up, and is put together from pieces so that no scanner takes it
// for real.
var planted = "gh" + "p_" + "a8Fk2Lq9Zr4Tm7Xw1Bc6Vn3Hp5Dj0Gs8Ye2K"

// secretive is a command with the token in every place where one can be.
func secretive() Command {
	return Command{
		Component: trace.ComponentWorld, Cmd: "echo " + planted + "; mysql -phunter2 \xff ‹secret:3›", Argv: []string{"x", "--password", "hunter 2", planted},
		Resolved: "/x/" + planted, Shell: "/" + planted + "/bash", ShellArgs: []string{"-c", "echo " + planted + "; mysql -phunter2 \xff ‹secret:3›"},
		Script: &trace.Script{Path: "/" + planted, Text: "TOKEN=hunter2\n" + planted}, Cwd: "/" + planted + "/\xff", Umask: 0o22,
		Env: []string{"PATH=/bin:/" + planted, "TZ=" + planted, "OTHER=" + planted},
	}
}

// completed is an ending with the token in every place where one can be.
func completed() trace.Completion {
	meta := fsdiff.Meta{Mtime: "2026-01-01T00:00:00.000000000Z", FileType: fsdiff.Symlink, Mode: "0777", LinkTarget: planted}
	return trace.Completion{
		ScopesUsed: []string{"fs.write:/a", "fs.write:/" + planted}, DegradedComponents: []string{planted}, FSFallbackReasons: []string{"overlay: " + planted},
		FSDiff: &fsdiff.Diff{Version: 1, Root: "/" + planted, Strategy: "overlay", Summary: "1 created, 1 modified", Counts: fsdiff.Counts{Create: 1, Modify: 1}, Entries: []fsdiff.Entry{
			{Path: "a", Kind: fsdiff.Modify, Meta: meta, Before: &meta}, {Path: planted, Kind: fsdiff.Create, Meta: meta},
		}},
		ReplayContext: &trace.ReplayContext{Mode: "argv", Argv: []string{planted}, StdinPath: planted, Verdict: &trace.Verdict{Result: "differs", Exit: "same", Stdout: "same", Stderr: "same", Files: planted}},
	}
}

func TestSecretsGoToTheVault(t *testing.T) { // REC10
	cfg := testConfig(t)
	cfg.AgentID, cfg.Caller, cfg.CallStack = "agent "+planted, planted, []string{"bash", planted}
	r := New(cfg, noWarning(t))
	c, done := secretive(), completed()
	s := r.Begin(c)
	written := s.End(done)
	if diff := cmp.Diff(secretive(), c); diff != "" {
		t.Errorf("Begin changed its argument:\n%s", diff)
	}
	if diff := cmp.Diff(completed().FSDiff, done.FSDiff); diff != "" {
		t.Errorf("End changed its argument:\n%s", diff)
	}
	text, err := os.ReadFile(cfg.Trace)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{planted, "hunter"} {
		if strings.Contains(string(text), secret) {
			t.Errorf("the trace holds %s:\n%s", secret, text)
		}
	}
	if st, err := os.Stat(vault.Path(cfg.Trace)); err != nil || st.Mode() != 0o600 {
		t.Errorf("vault: %v, %v, want mode 0600", st.Mode(), err)
	}
	for _, line := range linesOf(t, cfg) {
		got, err := vault.Reveal(cfg.Trace, line)
		if err != nil || line.Secrets == 0 {
			t.Fatalf("Reveal of a line with %d secrets: %v", line.Secrets, err)
		}
		want := trace.Record{
			Cmd: c.Cmd, Argv: c.Argv, ResolvedPath: c.Resolved, Shell: c.Shell, ShellArgs: c.ShellArgs, Script: c.Script, Cwd: c.Cwd,
			Env: map[string]string{"PATH": "/bin:/" + planted, "TZ": planted},
		}
		have := trace.Record{
			Cmd: got.Cmd, Argv: got.Argv, ResolvedPath: got.ResolvedPath, Shell: got.Shell, ShellArgs: got.ShellArgs, Script: got.Script, Cwd: got.Cwd, Env: got.Env,
		}
		if diff := cmp.Diff(want, have); diff != "" {
			t.Errorf("revealed (-want +got):\n%s", diff)
		}
		if line.Completion == nil {
			continue
		}
		if diff := cmp.Diff(completed(), *got.Completion); diff != "" {
			t.Errorf("revealed (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(written, *line.Completion); diff != "" {
			t.Errorf("End returned something else than it wrote:\n%s", diff)
		}
	}
}

func TestRedactOff(t *testing.T) { // REC10
	cfg := testConfig(t)
	cfg.NoRedact = true
	c := secretive()
	New(cfg, noWarning(t)).Begin(c).End(trace.Completion{})
	line := linesOf(t, cfg)[1]
	got, err := vault.Reveal(cfg.Trace, line)
	if line.Cmd != c.Cmd || got.Cmd != c.Cmd || err != nil {
		t.Errorf("cmd %q, revealed %q, %v, want %q", line.Cmd, got.Cmd, err, c.Cmd)
	}
	if _, err := os.Stat(vault.Path(cfg.Trace)); err == nil {
		t.Error("there is a vault")
	}
}

func TestVaultThatCannotBeWritten(t *testing.T) { // REC9, REC10
	for name, spoil := range map[string]func(path string) error{
		"a directory": func(path string) error { return os.Mkdir(path, 0o700) },
		"a link":      func(path string) error { return os.Symlink(filepath.Join(filepath.Dir(path), "elsewhere"), path) },
		"a device":    func(path string) error { return os.Symlink("/dev/full", path) },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(t)
			if err := spoil(vault.Path(cfg.Trace)); err != nil {
				t.Fatal(err)
			}
			warnings := 0
			s := New(cfg, func(error) { warnings++ }).Begin(secretive())
			s.End(completed())
			text, err := os.ReadFile(cfg.Trace)
			if err != nil || strings.Contains(string(text), planted) || strings.Count(string(text), "\n") != 2 || warnings != 1 {
				t.Errorf("after %d warnings the trace is %q, %v", warnings, text, err)
			}
			_, err = vault.Reveal(cfg.Trace, linesOf(t, cfg)[0])
			var missing *vault.MissingError
			if !errors.As(err, &missing) || missing.Placeholder != "‹secret:1›" && missing.Placeholder != "‹secret:2›" || !strings.Contains(err.Error(), missing.Placeholder) {
				t.Errorf("Reveal = %v", err)
			}
		})
	}
}

func TestNothingBesideWhatIsNoFile(t *testing.T) { // REC9, REC10
	dir := t.TempDir()
	cfg := config.Config{Trace: filepath.Join(dir, "trace.jsonl")}
	if err := syscall.Mkfifo(cfg.Trace, 0o600); err != nil {
		t.Fatal(err)
	}
	warnings := 0
	s := New(cfg, func(error) { warnings++ }).Begin(secretive())
	s.KeepOutput(Output{Head: []byte("x")}, Output{})
	s.End(completed())
	if left, _ := os.ReadDir(dir); len(left) != 1 || warnings != 1 {
		t.Errorf("after %d warnings there is %v, want the named pipe alone", warnings, left)
	}
}

// A command without secrets costs no system call more than before, and no copy.
func TestNoVaultWithoutSecrets(t *testing.T) { // REC10
	cfg := testConfig(t)
	New(cfg, noWarning(t)).Begin(Command{Component: trace.ComponentShell, Cmd: "mkdir -p demo", Cwd: "/", Env: os.Environ()}).End(trace.Completion{})
	if _, err := os.Stat(vault.Path(cfg.Trace)); err == nil {
		t.Error("there is a vault")
	}
	if line := linesOf(t, cfg)[0]; line.Cmd != "mkdir -p demo" || line.Secrets != 0 {
		t.Errorf("cmd %q with %d secrets", line.Cmd, line.Secrets)
	}
}
