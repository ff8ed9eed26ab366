package bench

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

var (
	rounds = flag.Int("rounds", 200, "rounds of each group")
	page   = flag.String("table", "", "file whose table is replaced; empty only prints")
)

// peer is what a world is compared with: bwrap with the namespaces and one bind mount.
var peer = strings.Fields("bwrap --unshare-all --bind / / --dev /dev --proc /proc true")

// BenchmarkTable measures all groups once and prints the table; its own iterations mean nothing. As
// root it measures as root and as a user, else as a user.
func BenchmarkTable(b *testing.B) {
	dir := workDir(b)
	bin := build(b, dir)
	names := []string{"user"}
	if os.Geteuid() == 0 {
		names = []string{"root", "user"}
	}
	small, large := tree(b, filepath.Join(dir, "small"), 10), tree(b, filepath.Join(dir, "large"), 100_000)
	b.Cleanup(func() { _ = os.RemoveAll(runDir) })
	var rows []row
	for _, name := range names {
		a := newAccount(b, name, bin)
		for _, g := range groups(a, small, large, shimOf(b, a, "true")) {
			got, err := g.measure(*rounds)
			if err != nil {
				b.Error(err)
				continue
			}
			rows = append(rows, got...)
		}
	}
	text := table(rows) + "\n" + diffLine(b) + "\n" + machine()
	fmt.Print("\n", text, "\n")
	for _, r := range rows {
		if r.missed() {
			fmt.Printf("over its target: as %s, %s: %.2f, %v more than %s\n", r.as, r.name, r.ratio, r.median-r.reference, r.against)
		}
	}
	if *page != "" && !b.Failed() {
		if err := spliceFile(*page, text); err != nil {
			b.Fatal(err)
		}
	}
}

// groups are the rows of the table.
func groups(a *account, small, large, shim string) []group {
	world, target := "world run -- true", 1.4
	if a.name == "root" {
		target = 1.1
	}
	sandbox := []variant{
		{name: strings.Join(peer, " "), run: a.command(a.home, peer[0], peer[1:]...)},
		{name: "substrate " + world, target: target, run: a.command(a.home, "substrate", strings.Fields(world)...)},
		{
			name: "substrate world run --upper tmpfs -- true", target: target - 0.1,
			run: a.command(a.home, "substrate", "world", "run", "--upper", "tmpfs", "--", "true"),
		},
	}
	if a.name == "user" {
		sandbox[2].target = 0
	}
	return []group{
		{a.name, []variant{
			{name: "bash -c true", run: a.command(a.home, "bash", "-c", "true")},
			{name: "substrate -c true", target: 1.35, run: a.command(a.home, "substrate", "-c", "true")},
		}},
		{a.name, []variant{
			{name: "true", run: a.command(a.home, "/usr/bin/true")},
			{name: "true, behind a shim", adds: 450 * time.Microsecond, run: a.command(a.home, shim)},
		}},
		{a.name, append(sandbox, inProcess(a)...)},
		{a.name, []variant{
			{name: "a world over 10 files", run: a.command(small, "substrate", strings.Fields(world)...)},
			{name: "a world over 100,000 files", target: 1.1, run: a.command(large, "substrate", strings.Fields(world)...)},
		}},
	}
}

// shimOf makes a link of that name to the shim, and records once, so that there is a trace.
func shimOf(b *testing.B, a *account, name string) string {
	b.Helper()
	link := filepath.Join(workDir(b), name)
	if err := os.Symlink(filepath.Join(a.bin, "substrate-shim"), link); err != nil {
		b.Fatal(err)
	}
	if err := a.command(a.home, link)(); err != nil {
		b.Fatal(err)
	}
	return link
}

// workDir is a directory that every account can reach, unlike those of package testing.
func workDir(b *testing.B) string {
	b.Helper()
	dir, err := os.MkdirTemp("/tmp", "substrate-bench-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = exec.Command("rm", "-rf", "--one-file-system", "--", dir).Run() })
	if err := os.Chmod(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	return dir
}

// diffLine runs the benchmark of package upper.
func diffLine(b *testing.B) string {
	b.Helper()
	out, err := exec.Command("go", "test", "-run", "^$", "-bench", "^BenchmarkWalk10k$", "-count", "5", "../internal/world/upper").CombinedOutput()
	if err != nil {
		b.Errorf("benchmark of the diff: %v\n%s", err, out)
		return ""
	}
	best := 0.0
	for line := range strings.Lines(string(out)) {
		var name string
		var n int
		var ns float64
		if k, _ := fmt.Sscanf(line, "%s %d %f ns/op", &name, &n, &ns); k == 3 && (best == 0 || ns < best) {
			best = ns
		}
	}
	if best == 0 {
		b.Errorf("benchmark of the diff printed no figure:\n%s", out)
		return ""
	}
	return fmt.Sprintf("Diff of 10,000 changes: %.0f ms (wanted: at most 60 on the machine that the times above are from).\n", best/1e6)
}

// machine describes where the figures are from.
func machine() string {
	var u syscall.Utsname
	_ = syscall.Uname(&u)
	var release strings.Builder
	for _, c := range u.Release {
		if c == 0 {
			break
		}
		release.WriteByte(byte(c))
	}
	kernel, _, _ := strings.Cut(release.String(), "-")
	return fmt.Sprintf("Made by `make bench`: medians of %d rounds, Linux %s, %s, %d cores, %s.\n",
		*rounds, kernel, runtime.GOARCH, runtime.NumCPU(), runtime.Version())
}
