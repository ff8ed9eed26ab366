package doctor

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"substrate/internal/testenv"
	"substrate/internal/world"
)

// here is this host, with the state of worlds in a directory of the test.
func here(t *testing.T) Host {
	t.Helper()
	dir := testenv.TempDir(t)
	return Host{
		Dirs: world.Dirs{Run: []string{dir + "/run"}, Overlay: []string{dir + "/overlay"}},
		Root: os.Geteuid() == 0 && slices.Contains(effective(), "cap_sys_admin") && slices.Contains(effective(), "cap_net_admin"),
	}
}

// row returns the row with this name.
func row(t *testing.T, r *Report, name string) Row {
	t.Helper()
	for _, row := range r.Checks {
		if row.Name == name {
			return row
		}
	}
	t.Fatalf("there is no row %q in\n%s", name, r.Text())
	return Row{}
}

// DOC1, DOC2: the report has the fields that scripts depend on, with the right types, and a table
// whose rows begin with their status.
func TestReport(t *testing.T) {
	testenv.Leaks(t)
	r := Run(here(t))
	fits(t, r)
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{
		"kernel": "", "distro": "", "cgroup_v2": true, "overlay_mount_ok": true, "userns": "", "fuse": map[string]any{}, "nft": map[string]any{},
		"dmesg_restrict": 0.0, "selinux": "", "apparmor": "", "capabilities": []any{}, "overlay_root": "", "copydiff_root": "", "strategy": "",
		"checks": []any{}, "ok": true,
	} {
		if have := fmt.Sprintf("%T", got[name]); have != fmt.Sprintf("%T", want) {
			t.Errorf("%s is %s, want %T", name, have, want)
		}
	}
	nft := got["nft"].(map[string]any)
	if _, ok := nft["present"].(bool); !ok || fmt.Sprintf("%T", nft["version"]) != "string" {
		t.Errorf("nft is %v, want present and version", nft)
	}
	for line := range strings.Lines(r.Text()) {
		if word, _, _ := strings.Cut(line, "  "); word != "PASS" && word != "WARN" && word != "FAIL" {
			t.Errorf("a row begins otherwise: %q", line)
		}
	}
	for _, row := range r.Checks {
		if row.Detail == "" || row.Status == Pass && row.Fix != "" {
			t.Errorf("row %+v: want a detail, and no fix for what passes", row)
		}
	}
}

// DOC1, WLD3: a world gets the strategy that the doctor names.
func TestStrategyIsTheOneOfWorlds(t *testing.T) {
	h := here(t)
	r := Run(h)
	w, err := world.New(world.Spec{Name: world.NameOf(t.TempDir()), Dirs: h.Dirs, Root: h.Root, Cwd: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	res, err := w.Run(world.Command{Path: "/bin/true", Argv: []string{"true"}, Dir: "/", Umask: 0o22})
	if closeErr := w.Close(); err != nil || closeErr != nil {
		t.Fatal(err, closeErr)
	}
	if res.Strategy != r.Strategy || len(res.Fallbacks) != len(r.Rejected) {
		t.Errorf("the doctor says %s after %v, a world got %s after %v", r.Strategy, r.Rejected, res.Strategy, res.Fallbacks)
	}
	want := Fail
	if slices.Contains([]string{"overlay", "fuse"}, r.Strategy) {
		want = Pass
	} else if r.Strategy == "copy-diff" {
		want = Warn
	}
	if got := row(t, r, "strategy").Status; got != want || r.OK != (want == Pass) {
		t.Errorf("strategy %s has status %s and ok %v", r.Strategy, got, r.OK)
	}
}

// DOC3: a mount that never answers fails its row, not the report.
func TestDeadMount(t *testing.T) {
	testenv.InRoot(t, func(t *testing.T) {
		fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			testenv.Skip(t, "needs /dev/fuse: "+err.Error())
		}
		silent := t.TempDir()
		if err := unix.Mount("silent", silent, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40755,user_id=0,group_id=0", fd)); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Unmount(silent, unix.MNT_DETACH) }()
		h := here(t)
		h.Dirs.Overlay = append([]string{filepath.Join(silent, "overlay")}, h.Dirs.Overlay...)
		ended := make(chan bool)
		dead := check{"directories", 50 * time.Millisecond, func(h Host) finding { defer close(ended); return askPlaces(h) }}
		began := time.Now()
		found := runAll(h, []check{{"strategy", slow, func(Host) finding { select {} }}, dead, {"kernel", quick, askKernel}})
		if took := time.Since(began); took >= slow {
			t.Errorf("it took %v, though one check had shown that something is dead", took)
		}
		_ = unix.Close(fd) // frees who waits
		<-ended
		if found[2].rows[0].Status != Pass || found[0].rows[0].Status != Fail {
			t.Errorf("the other checks found %+v", found)
		}
		f := found[1]
		if len(f.rows) != 1 || f.rows[0].Status != Fail || !strings.Contains(f.rows[0].Detail, "no answer within") {
			t.Errorf("rows are %+v, want one that says that there is no answer", f.rows)
		}
	})
}

// DOC1: each directory is named with its file system and free space, and with the reasons against
// those before it.
func TestPlaces(t *testing.T) {
	dir := testenv.TempDir(t)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h := Host{Dirs: world.Dirs{Run: []string{dir + "/run"}, Overlay: []string{file + "/a", dir + "/b"}}}
	r := &Report{}
	f := askPlaces(h)
	f.set(r)
	if r.RunRoot != dir+"/run" || r.OverlayRoot != dir+"/b" || r.CopydiffRoot != dir+"/b" {
		t.Errorf("roots are %q, %q, %q", r.RunRoot, r.OverlayRoot, r.CopydiffRoot)
	}
	if d := f.rows[1].Detail; !strings.Contains(d, "free); not "+file+"/a, because ") {
		t.Errorf("uppers: %q, want free space and why not the first place", d)
	}
	h.Dirs.Overlay = []string{file + "/a"}
	if f := askPlaces(h); f.rows[1].Status != Warn || f.rows[1].Fix == "" || !strings.Contains(f.rows[1].Detail, "kept in memory") {
		t.Errorf("without a place: %+v", f.rows[1])
	}
}

// DOC1: versions are found in the output of programs.
func TestWordAfter(t *testing.T) {
	for _, test := range []struct{ said, mark, want string }{
		{"fuse-overlayfs: version 1.10\nFUSE library version 3.14.0\n", "fuse-overlayfs: version ", "1.10"},
		{"unknown argument ignored: lazytime\nfuse-overlayfs: version 1.13-dev\n", "fuse-overlayfs: version ", "1.13-dev"},
		{"nftables v1.0.6 (Lester Gooch #5)\n", "nftables ", "1.0.6"},
		{"", "nftables ", ""},
		{"nftables ", "nftables ", ""},
	} {
		if got := wordAfter(test.said, test.mark); got != test.want {
			t.Errorf("wordAfter(%q) = %q, want %q", test.said, got, test.want)
		}
	}
}
