package replay

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"substrate/trace"
)

// shellSpan is a span as `substrate -c` records it.
func shellSpan(cwd string, args ...string) trace.Record {
	return trace.Record{
		TraceSchemaVersion: trace.SchemaVersion, SpanID: "spn_1",
		Cmd: args[len(args)-1], Shell: "/bin/bash", ShellArgs: args, Cwd: cwd, Umask: "0027",
		Env: map[string]string{"PATH": "/bin"},
	}
}

// RPL2: every way to start a command, and its mode.
func TestPlanStarts(t *testing.T) {
	dir := t.TempDir()
	script := shellSpan(dir, "./job.sh", "a b")
	script.Cmd = "./job.sh a b"
	argv := trace.Record{
		TraceSchemaVersion: 1, SpanID: "spn_1", Cmd: "git log", Argv: []string{"git", "log", "--format=a b"},
		Cwd: dir, Umask: "0022",
	}
	tests := []struct {
		name string
		span trace.Record
		path string
		argv []string
		mode string
	}{
		{"shell", shellSpan(dir, "-c", "echo  'a'\n"), "/bin/bash", []string{"bash", "-c", "echo  'a'\n"}, "bash -c"},
		{"empty", shellSpan(dir, "-c", ""), "/bin/bash", []string{"bash", "-c", ""}, "bash -c"},
		{"login", shellSpan(dir, "-lc", "exit 3"), "/bin/bash", []string{"bash", "-lc", "exit 3"}, "bash -lc"},
		{"apart", shellSpan(dir, "-c", "-l", "exit 3"), "/bin/bash", []string{"bash", "-c", "-l", "exit 3"}, "bash -c -l"},
		{
			"options", shellSpan(dir, "-o", "pipefail", "-ec", "a", "name", "x"), "/bin/bash",
			[]string{"bash", "-o", "pipefail", "-ec", "a", "name", "x"},
			"bash -o pipefail -ec",
		},
		{"script", script, "/bin/bash", []string{"bash", "./job.sh", "a b"}, "bash script"},
		{"nested", shellSpan(dir, "-c", "bash -lc 'x'"), "/bin/bash", []string{"bash", "-c", "bash -lc 'x'"}, "bash -c (bash -lc)"},
		{"argv", argv, "git", []string{"git", "log", "--format=a b"}, "argv"},
		{
			"foreign",
			trace.Record{SpanID: "x", Cmd: "ls  *", Argv: []string{"ls", "a"}, Cwd: dir},
			"/bin/bash",
			[]string{"bash", "-lc", "ls  *"},
			"bash -lc",
		},
		{"not UTF-8", shellSpan(dir, "-c", "echo \xff"), "/bin/bash", []string{"bash", "-c", "echo \xff"}, "bash -c"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := NewPlan(tt.span, Options{})
			if err != nil {
				t.Fatalf("NewPlan: %v", err)
			}
			if p.Path != tt.path || p.Mode != tt.mode || p.Cwd != dir {
				t.Errorf("path, mode, cwd = %q, %q, %q, want %q, %q, %q", p.Path, p.Mode, p.Cwd, tt.path, tt.mode, dir)
			}
			if d := cmp.Diff(tt.argv, p.Argv); d != "" {
				t.Errorf("argv differs (-want +got):\n%s", d)
			}
		})
	}
}

// RPL1, RPL2, REC2: what cannot be run again is refused with a reason and a remedy.
func TestPlanRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	stdin := shellSpan(dir, "-s")
	stdin.Cmd = "<stdin>"
	tests := []struct {
		name, want, hint string
		span             trace.Record
	}{
		{"stdin", "standard input", "--stdin FILE", stdin},
		{"cwd gone", "no longer exists", "mkdir -p '" + dir + "/a b'", shellSpan(dir+"/a b", "-c", "x")},
		{"cwd is a file", "no longer a directory", "", shellSpan(file, "-c", "x")},
		{"cwd missing", "no absolute working directory", "", shellSpan("", "-c", "x")},
		{"nothing to run", "has no command", "", trace.Record{SpanID: "x", Cwd: dir}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := NewPlan(tt.span, Options{})
			var refused *Error
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(refused.Hint, tt.hint) {
				t.Fatalf("NewPlan = %v, want %q with hint %q", err, tt.want, tt.hint)
			}
		})
	}
	if p, err := NewPlan(stdin, Options{Stdin: file}); err != nil || p.Stdin != file || p.Mode != "bash -s stdin" {
		t.Errorf("NewPlan with --stdin = %+v, %v", p, err)
	}
}

// RPL3: the umask is the recorded one, else 022.
func TestUmask(t *testing.T) {
	for in, want := range map[string]int{"0027": 0o27, "": 0o22, "0": 0, "0777": 0o777, "9": 0o22, "77777": 0o22, "-1": 0o22} {
		if got := umask(in); got != want {
			t.Errorf("umask(%q) = %#o, want %#o", in, got, want)
		}
	}
}

// RPL3: a replay gets the passed variables, those of --env, and no others.
func TestEnvironment(t *testing.T) {
	recorded := map[string]string{
		"PATH": "/rec", "HOME": "/h", "SHELL": "/s", "USER": "u", "LOGNAME": "l", "LANG": "C", "LC_ALL": "C.UTF-8",
		"TERM": "xterm", "TZ": "UTC", "RUST_LOG": "info", "SUBSTRATE_LOG": "debug",
		"AWS_SECRET_ACCESS_KEY": "k", "GITHUB_TOKEN": "t", "SSH_AUTH_SOCK": "/s", "FOO": "x", "LC_API_KEY": "k",
	}
	environ := []string{"PATH=/now", "GITHUB_TOKEN=now", "FOO=now=1", "FOO=twice", "GOOGLE_X=1", "MIXED"}
	tests := []struct {
		name  string
		span  map[string]string
		extra []string
		want  []string
	}{
		{"recorded", recorded, nil, []string{
			"HOME=/h", "LANG=C", "LC_ALL=C.UTF-8", "LOGNAME=l", "PATH=/rec", "PWD=/w", "RUST_LOG=info",
			"SHELL=/s", "SUBSTRATE_LOG=debug", "TERM=xterm", "TZ=UTC", "USER=u",
		}},
		{
			"asked for",
			map[string]string{"PATH": "/rec"},
			[]string{"FOO", "GITHUB_TOKEN", "NOT_SET", "NEW=a=b", "EMPTY="},
			[]string{"EMPTY=", "FOO=now=1", "GITHUB_TOKEN=now", "NEW=a=b", "PATH=/rec", "PWD=/w"},
		},
		{"overridden", map[string]string{"PATH": "/rec"}, []string{"PATH"}, []string{"PATH=/now", "PWD=/w"}},
		{"recorded without any", map[string]string{}, nil, []string{"PWD=/w"}},
		{"recorded with none set", nil, nil, []string{"PWD=/w"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			span := trace.Record{TraceSchemaVersion: 1, Env: tt.span, Cwd: "/w"}
			got := environment(span, Options{Env: tt.extra, Environ: environ})
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("environment differs (-want +got):\n%s", d)
			}
		})
	}
}

// RPL2, RPL3: a span of another program holds no environment, so that of the caller is used.
func TestEnvironmentOfForeignSpan(t *testing.T) {
	got := environment(trace.Record{Cwd: "/w"}, Options{Environ: []string{"PATH=/now", "HOME=/h", "FOO=1", "A_TOKEN=1"}})
	if d := cmp.Diff([]string{"HOME=/h", "PATH=/now", "PWD=/w"}, got); d != "" {
		t.Errorf("environment differs (-want +got):\n%s", d)
	}
}

// RPL3: a new command gets the environment of the caller without credentials.
func TestInherit(t *testing.T) {
	environ := []string{
		"FOO=a=b", "AWS_REGION=x", "GCP_A=x", "GOOGLE_B=x", "AZURE_C=x", "GH_TOKEN=t", "MY_SECRET_X=x", "X_API_KEY=x",
		"SSH_AUTH_SOCK=x", "GPG_AGENT_INFO=x", "DBUS_SESSION_BUS_ADDRESS=x", "TOKENS=kept",
	}
	if d := cmp.Diff([]string{"FOO=a=b", "TOKENS=kept"}, Inherit(environ, nil)); d != "" {
		t.Errorf("environment differs (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"FOO=1", "GH_TOKEN=t", "TOKENS=kept"}, Inherit(environ, []string{"GH_TOKEN", "FOO=1"})); d != "" {
		t.Errorf("environment with --env differs (-want +got):\n%s", d)
	}
}

// RPL8: a nested shell is found only in a simple command that starts a shell with -c.
func TestNestedShell(t *testing.T) {
	tests := map[string]string{
		"bash -lc 'echo hello > out.txt'":  "bash -lc",
		"/usr/bin/bash -l -c x":            "bash -l -c",
		"A=1 sh -c x >out":                 "sh -c",
		"'zsh' -ic \"a b\" name arg":       "zsh -ic",
		"bash -c \"$X\"":                   "bash -c",
		"bash -o pipefail -ec -- x":        "bash -o pipefail -ec",
		"bash -c":                          "",
		"bash script.sh -c":                "",
		"bash --norc -c x":                 "bash --norc -c",
		"bash -lc x | cat":                 "",
		"bash -lc x; true":                 "",
		"! bash -c x":                      "",
		"bash -c x &":                      "",
		"(bash -c x)":                      "",
		"$SHELL -c x":                      "",
		"echo bash -c x":                   "",
		"bash -lc 'unclosed":               "",
		"trash -c x":                       "",
		"":                                 "",
		"bash -o":                          "",
		"bash -lc 'x' <<EOF\nhello\nEOF\n": "", // here-documents are not looked into
	}
	for cmd, want := range tests {
		if got := nestedShell(cmd); got != want {
			t.Errorf("nestedShell(%q) = %q, want %q", cmd, got, want)
		}
	}
}
