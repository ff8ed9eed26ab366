package procstate

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// buildProbe builds testdata/probe with the given flags of the linker.
func buildProbe(t *testing.T, ldflags string, env ...string) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "probe")
	cmd := exec.Command("go", "build", "-ldflags", ldflags, "-o", bin, "./testdata/probe")
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return bin
}

// runs are what a shell does before it starts the probe, and what the probe must know.
var runs = []struct{ name, script, want string }{
	{
		"nothing special", `ulimit -Sn 100; ulimit -Hn 200; exec "$0"`,
		"known true\nignored 0000000000000000\nnofile 100 200 true\nclosed false false false\n",
	},
	{
		"signals that the runtime forgets", `ulimit -Sn 100; ulimit -Hn 200; trap '' PIPE TERM USR1 QUIT; exec "$0"`,
		"known true\nignored 0000000000005204\nnofile 100 200 true\nclosed false false false\n",
	},
	{
		"first, last and those of the runtime itself", `ulimit -Sn 100; ulimit -Hn 200; trap '' HUP SEGV URG RTMAX; exec "$0"`,
		"known true\nignored 8000000000400401\nnofile 100 200 true\nclosed false false false\n",
	},
	{
		"closed files", `ulimit -Sn 100; ulimit -Hn 200; exec "$0" <&- 2>&-`,
		"known true\nignored 0000000000000000\nnofile 100 200 true\nclosed true false true\n",
	},
}

func TestEntry(t *testing.T) { // REC1, WLD4
	bin := buildProbe(t, "-E inherited_entry")
	for _, run := range runs {
		t.Run(run.name, func(t *testing.T) { checkRun(t, run.script, run.want, bin) })
	}
}

// TestEntryARM64 runs the probe for the other architecture, if there is an emulator. It
// starts programs without limits of their own, so only signals are compared.
func TestEntryARM64(t *testing.T) {
	qemu, err := exec.LookPath("qemu-aarch64-static")
	if err != nil {
		qemu, err = exec.LookPath("qemu-aarch64")
	}
	bin := buildProbe(t, "-E inherited_entry", "GOARCH=arm64", "CGO_ENABLED=0")
	if err != nil {
		t.Skip("built, not run: no qemu-aarch64 on PATH (package qemu-user-static)")
	}
	out, err := exec.Command("/bin/bash", "-c", `trap '' PIPE TERM USR1 QUIT; exec "$0" "$1" 2>&-`, qemu, bin).Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"known true\n", "ignored 0000000000005204\n", "closed false false true\n"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("probe printed\n%swhich lacks %q", out, want)
		}
	}
}

func TestWithoutEntryNothingIsKnown(t *testing.T) {
	bin := buildProbe(t, "")
	checkRun(t, `trap '' TERM; exec "$0"`, "known false\nignored 0000000000000000\nnofile 0 0 false\nclosed false false false\n", bin)
}

// TestEntryUnderPIE builds a program whose addresses are only known when it is loaded.
func TestEntryUnderPIE(t *testing.T) {
	bin := buildProbe(t, "-E inherited_entry", "GOFLAGS=-buildmode=pie", "CGO_ENABLED=0")
	checkRun(t, runs[1].script, runs[1].want, bin)
}

func checkRun(t *testing.T, script, want, bin string) {
	t.Helper()
	out, err := exec.Command("/bin/bash", "-c", script, bin).Output()
	if err != nil {
		t.Fatal(err)
	}
	if string(out) != want {
		t.Errorf("probe after %s printed\n%swant\n%s", script, out, want)
	}
}

func TestIsIgnored(t *testing.T) {
	defer func(old uint64) { ignored = old }(ignored)
	ignored = 1<<0 | 1<<63
	for sig, want := range map[syscall.Signal]bool{0: false, 1: true, 2: false, 63: false, 64: true, 65: false} {
		if got := IsIgnored(sig); got != want {
			t.Errorf("IsIgnored(%d) = %v, want %v", sig, got, want)
		}
	}
}
