package boot

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"substrate/internal/testenv"
)

// The processes of a world have no runtime: interpret and what it calls use nothing of it, be it a
// write barrier while the supervisor collects garbage.
func TestNeedsNoRuntime(t *testing.T) {
	testenv.NeedRoot(t) // who has the modules to build with
	for _, arch := range []string{"amd64", "arm64"} {
		t.Run(arch, func(t *testing.T) {
			bin := filepath.Join(t.TempDir(), "substrate")
			build := exec.Command("go", "build", "-o", bin, "../../../cmd/substrate")
			build.Env = append(os.Environ(), "GOARCH="+arch, "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("go build: %v\n%s", err, out)
			}
			needNoRuntime(t, bin)
		})
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
			t.Errorf("%s is not to be seen, or stores pointers with a write barrier", next[0])
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
