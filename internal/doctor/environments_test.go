package doctor

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"substrate/internal/testenv"
	"substrate/internal/world"
)

var update = flag.Bool("update", false, "write what the doctor says in each environment into docs/doctor.md")

// page holds the reports of the environments.
const page = "../../docs/doctor.md"

// environments are those of docs/doctor.md.
var environments = []struct {
	name string // of the block in the page
	host testenv.Host
}{
	{"root", testenv.Host{}},
	{"user", testenv.Host{User: true}},
	{"no-user-namespaces", testenv.Host{User: true, WithoutUserns: true}},
	{"no-fuse", testenv.Host{User: true, WithoutFuse: true}},
	{"nothing", testenv.Host{User: true, WithoutUserns: true, WithoutMounts: true, WithoutFuse: true, WithoutLandlock: true}},
}

// decided are the rows that depend on the environment alone. Of the others only the name is
// compared. Whether a user may open /dev/fuse depends on the machine.
var decided = []string{"capabilities", "userns", "/dev/fuse", "fuse-overlayfs", "overlay", "fuse", "copy-diff", "strategy", "network", "nf_tables", "nflog"}

// reportFile is the variable that names the file for the report of the child.
const reportFile = "SUBSTRATE_TEST_DOCTOR_REPORT"

// DOC1, WLD12: in each environment the doctor names cause and remedy in the words of
// docs/doctor.md, and leaves nothing behind.
func TestEnvironments(t *testing.T) {
	for _, env := range environments {
		t.Run(env.name, func(t *testing.T) {
			testenv.NeedProgram(t, "fuse-overlayfs")
			file := os.Getenv(reportFile)
			if file == "" {
				file = openFile(t)
				if err := os.Setenv(reportFile, file); err != nil {
					t.Fatal(err)
				}
				defer func() { _ = os.Unsetenv(reportFile) }()
			}
			testenv.In(t, env.host, func(t *testing.T) {
				testenv.Leaks(t)
				h := here(t)
				r := Run(h)
				fits(t, r)
				text := normal(r.Text(), h.Dirs)
				if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			})
			if !testenv.InChild() {
				rows := decided
				if env.host.User && !env.host.WithoutFuse {
					rows = slices.DeleteFunc(slices.Clone(rows), func(name string) bool { return strings.HasSuffix(name, "fuse") })
				}
				compare(t, env.name, file, rows)
			}
		})
	}
}

// openFile makes a file that every user can write.
func openFile(t *testing.T) string {
	t.Helper()
	f, err := os.CreateTemp("/tmp", "substrate-doctor-report-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(f.Name()) })
	if err := f.Chmod(0o666); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	return f.Name()
}

// varying is what differs between machines in the compared rows.
var varying = []struct{ from, to string }{
	{`(kernel +)Linux \S+`, "${1}Linux 6.18"},
	{`/usr/\S*bin/fuse-overlayfs( [0-9]\S*)?`, "/usr/bin/fuse-overlayfs 1.10"}, // a slow machine may not tell the version in time
	{`with [0-9]{2} capabilities`, "with 41 capabilities"},
	{`[0-9]+ (KiB|MiB|GiB|TiB) free`, "80 GiB free"},
	{`substrate-probe-[0-9]+`, "substrate-probe-1"},
}

// normal removes what differs between machines from a report.
func normal(text string, dirs world.Dirs) string {
	text = strings.ReplaceAll(text, dirs.Run[0], "/run/substrate")
	text = strings.ReplaceAll(text, dirs.Overlay[0], "/var/lib/substrate/overlay")
	for _, v := range varying {
		text = regexp.MustCompile(v.from).ReplaceAllString(text, v.to)
	}
	return text
}

// compare compares the report with the block of that name in the page, or writes it there.
func compare(t *testing.T, name, file string, rows []string) {
	t.Helper()
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	open := "```text environment=" + name + "\n"
	head, rest, found := strings.Cut(string(text), open)
	want, tail, closed := strings.Cut(rest, "```\n")
	if !found || !closed {
		t.Fatalf("%s has no block %q", page, open)
	}
	if *update {
		if err := os.WriteFile(page, []byte(head+open+string(got)+"```\n"+tail), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if g, w := comparable(string(got), rows), comparable(want, rows); g != w {
		t.Errorf("the doctor says in the environment %s:\n%s\n%s has:\n%s", name, g, filepath.Base(page), w)
	}
}

// comparable keeps what depends on the environment alone.
func comparable(table string, rows []string) string {
	var lines []string
	for line := range strings.Lines(table) {
		status, rest, _ := strings.Cut(line, "  ")
		name, detail, _ := strings.Cut(rest, "  ")
		line = name
		if slices.Contains(rows, name) {
			line = status + " " + name + " " + strings.TrimSpace(detail)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}
