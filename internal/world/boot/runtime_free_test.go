package boot

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"substrate/internal/testenv"
	"substrate/internal/world/ops"
)

// The processes of a world have no runtime: interpret and what it calls use nothing of it, not even
// a write barrier. The program recognizes the init process by its name and runs its ops, also on
// the architecture that is not ours.
func TestNeedsNoRuntime(t *testing.T) {
	testenv.NeedRoot(t) // who has the modules to build with
	for _, arch := range []string{"amd64", "arm64"} {
		t.Run(arch, func(t *testing.T) {
			bin := filepath.Join(t.TempDir(), "substrate")
			build := exec.Command("go", "build", "-ldflags=-E substrate_entry", "-o", bin, "../../../cmd/substrate")
			build.Env = append(os.Environ(), "GOARCH="+arch, "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("go build: %v\n%s", err, out)
			}
			needNoRuntime(t, bin)
			if arch == runtime.GOARCH {
				isInit(t, &exec.Cmd{Path: bin})
			} else if qemu, err := exec.LookPath("qemu-aarch64-static"); err != nil || arch != "arm64" {
				t.Log("built, not run: no qemu-aarch64-static on PATH (package qemu-user-static)")
			} else {
				isInit(t, exec.Command(qemu, "-0", string(name[:len(name)-1]), bin))
			}
		})
	}
}

// isInit runs a program as an init process in our own namespaces. It gets no system call to make,
// because their numbers may be those of another machine.
func isInit(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	peer := os.NewFile(uintptr(pair[1]), "report socket")
	if len(cmd.Args) == 0 {
		cmd.Args = []string{string(name[:len(name)-1])}
	}
	cmd.Env, cmd.ExtraFiles = []string{}, []*os.File{peer} // the first of which is initSocket
	pr := &Process{conn: pair[0], p: ops.New(firstReg)}
	defer unix.Close(pr.conn)
	for _, step := range []string{"one", "two"} {
		pr.p.Step(step)
		pr.p.Add(ops.ReportDone)
		pr.p.Add(ops.ReadPart, ops.Num(firstReg))
		if err := pr.send(); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = peer.Close()
	for i, want := range []string{"one", "two"} {
		m, _, err := pr.Receive()
		if err != nil || m.Kind != MsgStep || pr.Step(m) != want {
			t.Errorf("message %d is %+v of step %s, %v", i, m, pr.Step(m), err)
		}
	}
	hangUp(t, pr)
	var ended *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &ended) || ended.ExitCode() != 125 {
		t.Errorf("without a supervisor it ends with %v, want status 125", err)
	}
}

// needNoRuntime looks at the instructions that the compiler made.
func needNoRuntime(t *testing.T, bin string) {
	t.Helper()
	code, err := exec.Command("go", "tool", "objdump", "-s", `^substrate/internal/world/boot\.`, bin).Output()
	if err != nil {
		t.Fatal(err)
	}
	blocks := map[string]string{}
	for _, block := range strings.Split(string(code), "TEXT ")[1:] {
		name, body, _ := strings.Cut(block, "(SB)")
		blocks[strings.TrimPrefix(name, pkg)] = body
	}
	call := regexp.MustCompile(`\s(?:CALL|JMP|BL|B)\s+([a-z/][\w/.()*\x{b7}]*)\(SB\)`)
	seen, next := map[string]bool{"initMain": true, "interpret": true}, []string{"initMain", "interpret"}
	for ; len(next) > 0; next = next[1:] {
		body, ok := blocks[next[0]]
		if !ok {
			body, ok = blocks[next[0]+".abi0"] // assembly
		}
		if !ok || strings.Contains(body, "writeBarrier") {
			t.Errorf("%s is not in the program, or stores pointers with a write barrier", next[0])
		}
		for _, c := range call.FindAllStringSubmatch(body, -1) {
			name := ours(c[1])
			switch {
			case strings.HasPrefix(name, "syscall.RawSyscall"):
			case strings.Contains(name, "."):
				t.Errorf("%s calls %s", next[0], name)
			case !seen[name]:
				seen[name] = true
				next = append(next, name)
			}
		}
	}
	if len(seen) < 8 {
		t.Errorf("only %d functions were looked at", len(seen))
	}
}

const pkg = "substrate/internal/world/boot."

// ours gives the names of this package without it.
func ours(name string) string { return strings.TrimSuffix(strings.TrimPrefix(name, pkg), ".abi0") }
