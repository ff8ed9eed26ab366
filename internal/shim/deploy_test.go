package shim

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"substrate/internal/config"
	"substrate/internal/plain"
	"substrate/internal/testenv"
	"substrate/internal/version"
)

// testSite is a place to deploy to below dir, with a file that stands for the shim.
func testSite(t *testing.T, dir string) *site {
	t.Helper()
	bin := filepath.Join(dir, "opt", plain.ShimProgram)
	must(t, os.MkdirAll(filepath.Dir(bin), 0o755))
	must(t, os.WriteFile(bin, []byte("the shim"), 0o755))
	base := filepath.Join(dir, ".substrate")
	must(t, os.MkdirAll(base, 0o700))
	return &site{
		base: base, dir: filepath.Join(base, "shims"), bin: binaryAt(t, bin),
		want: []string{"git", "npm", "sh"}, known: []string{"git", "npm", "sh", "old"}, path: "/bin:/usr/bin",
	}
}

func binaryAt(t *testing.T, path string) binary {
	t.Helper()
	var st syscall.Stat_t
	must(t, syscall.Stat(path, &st))
	return binary{plain.File{Path: path, Dev: st.Dev, Ino: st.Ino, Size: st.Size, Mtime: st.Mtim.Nano()}}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// content lists the entries of a directory: links with their targets, files with their text.
func content(t *testing.T, dir string) (list []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch {
		case e.Name() == plain.MetadataName || e.Name() == plain.StampName:
			list = append(list, e.Name())
		case e.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			must(t, err)
			list = append(list, e.Name()+" -> "+target)
		case e.IsDir():
			list = append(list, e.Name()+"/")
		default:
			text, err := os.ReadFile(path)
			must(t, err)
			list = append(list, e.Name()+"="+string(text))
		}
	}
	return list
}

// deployed is the content of a site's directory after a deployment, and more.
func (s *site) deployed(more ...string) []string {
	list := append([]string{plain.MetadataName, plain.StampName}, more...)
	for _, name := range s.want {
		list = append(list, name+" -> "+s.bin.Path)
	}
	slices.Sort(list)
	return list
}

// isDeployed checks the content of a site's directory, and that nothing is left beside it.
func isDeployed(t *testing.T, s *site, more ...string) {
	t.Helper()
	got := content(t, s.dir)
	slices.Sort(got)
	if want := s.deployed(more...); !slices.Equal(got, want) {
		t.Errorf("the directory holds\n%q, want\n%q", got, want)
	}
	m, err := readMetadata(s.dir)
	hash, _ := s.bin.hash()
	if err != nil || !m.same(s.bin, hash, s.want) || time.Since(m.Time) > time.Hour {
		t.Errorf(".version = %+v, %v", m, err)
	}
	if have, err := os.Readlink(filepath.Join(s.dir, plain.StampName)); err != nil || have != s.bin.stamp() {
		t.Errorf(".stamp = %q, %v; want %q", have, err, s.bin.stamp())
	}
	if left, _ := filepath.Glob(filepath.Join(s.base, ".shims-*")); len(left) > 0 {
		t.Errorf("left beside the directory: %q", left)
	}
}

// spoilt is a damaged deployment, which the next one has to repair.
type spoilt struct {
	name  string
	spoil func(t *testing.T, s *site)
	more  []string // entries of the user's, there before and after
}

// at returns the path of a link.
func at(s *site, name string) string { return filepath.Join(s.dir, name) }

// spoiltByAccident returns damaged deployments without files of the user's.
func spoiltByAccident() []spoilt {
	return []spoilt{
		{"nothing there", func(t *testing.T, s *site) { must(t, os.RemoveAll(s.dir)) }, nil},
		{"empty directory", func(t *testing.T, s *site) { must(t, os.RemoveAll(s.dir)); must(t, os.Mkdir(s.dir, 0o700)) }, nil},
		{"link removed", func(t *testing.T, s *site) { must(t, os.Remove(at(s, "npm"))) }, nil},
		{"wrong target", func(t *testing.T, s *site) { must(t, replaceLink(at(s, "git"), "/bin/true")) }, nil},
		{"target of another installation", func(t *testing.T, s *site) { must(t, replaceLink(at(s, "git"), "/other/substrate-shim")) }, nil},
		{"link nobody wants any more", func(t *testing.T, s *site) { must(t, replaceLink(at(s, "old"), "/other/x")) }, nil},
		{"link of ours by its target", func(t *testing.T, s *site) { must(t, replaceLink(at(s, "x"), "/gone/substrate-shim")) }, nil},
		{"no version", func(t *testing.T, s *site) { must(t, os.Remove(at(s, plain.MetadataName))) }, nil},
		{"empty version", func(t *testing.T, s *site) { must(t, os.WriteFile(at(s, plain.MetadataName), nil, 0o600)) }, nil},
		{"corrupt version", func(t *testing.T, s *site) { must(t, os.WriteFile(at(s, plain.MetadataName), []byte("{\xff"), 0o600)) }, nil},
		{"version without fields", func(t *testing.T, s *site) { must(t, os.WriteFile(at(s, plain.MetadataName), []byte("{}"), 0o600)) }, nil},
		{"fifo as version", func(t *testing.T, s *site) {
			must(t, os.Remove(at(s, plain.MetadataName)))
			must(t, syscall.Mkfifo(at(s, plain.MetadataName), 0o600))
		}, nil},
		{"directory as version", func(t *testing.T, s *site) {
			must(t, os.Remove(at(s, plain.MetadataName)))
			must(t, os.Mkdir(at(s, plain.MetadataName), 0o700))
		}, nil},
		{"no stamp", func(t *testing.T, s *site) { must(t, os.Remove(at(s, plain.StampName))) }, nil},
		{"wrong stamp", func(t *testing.T, s *site) { must(t, replaceLink(at(s, plain.StampName), "0.0.1:1:2:3:4:/x")) }, nil},
		{"a draft", func(t *testing.T, s *site) { must(t, os.Symlink("x", at(s, draft+"git"))) }, nil},
	}
}

// spoiltByUser returns those with files of the user's, and those that were killed.
func spoiltByUser() []spoilt {
	return []spoilt{
		{"file of the user", func(t *testing.T, s *site) {
			must(t, os.WriteFile(at(s, "mine"), []byte("me"), 0o755))
			must(t, os.Symlink("/usr/bin/vim", at(s, "vi")))
			must(t, os.Remove(at(s, "npm")))
		}, []string{"mine=me", "vi -> /usr/bin/vim"}},
		{"file of the user under a name of ours", func(t *testing.T, s *site) {
			must(t, os.Remove(at(s, "git")))
			must(t, os.WriteFile(at(s, "git"), []byte("me"), 0o755))
			must(t, os.WriteFile(at(s, "git.orig"), []byte("first"), 0o755))
			must(t, os.Mkdir(at(s, "git.orig2"), 0o755))
		}, []string{"git.orig=first", "git.orig2/", "git.orig3=me"}},
		{"killed before the exchange", func(t *testing.T, s *site) {
			half := filepath.Join(s.base, building+"1")
			must(t, os.Mkdir(half, 0o700))
			must(t, os.Symlink(s.bin.Path, filepath.Join(half, "git")))
		}, nil},
		{"killed after the exchange", func(t *testing.T, s *site) {
			old := filepath.Join(s.base, building+"2")
			must(t, os.Mkdir(old, 0o700))
			must(t, os.Symlink("/gone/substrate-shim", filepath.Join(old, "npm")))
			must(t, os.WriteFile(filepath.Join(old, "late"), []byte("me"), 0o755))
		}, []string{"late=me"}},
	}
}

// TestDeployRepairs: a deployment repairs every damage and loses no file of the user's.
func TestDeployRepairs(t *testing.T) { // SHM2, SHM3
	for _, test := range append(spoiltByAccident(), spoiltByUser()...) {
		t.Run(test.name, func(t *testing.T) {
			s := testSite(t, t.TempDir())
			must(t, s.deploy())
			isDeployed(t, s)
			test.spoil(t, s)
			must(t, s.deploy())
			isDeployed(t, s, test.more...)
		})
	}
}

func TestDeployChangesNothingThatIsRight(t *testing.T) { // SHM3: idempotent
	s := testSite(t, t.TempDir())
	must(t, s.deploy())
	before := identities(t, s.dir)
	must(t, s.deploy())
	if after := identities(t, s.dir); !slices.Equal(before, after) {
		t.Errorf("a second deployment changed\n%q to\n%q", before, after)
	}
}

// identities returns the inodes and times of a directory and its content.
func identities(t *testing.T, dir string) (list []string) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st syscall.Stat_t
		err = syscall.Lstat(path, &st)
		list = append(list, fmt.Sprint(path, st.Ino, st.Mtim, st.Ctim))
		return err
	}))
	return list
}

func TestDeployFollowsDrift(t *testing.T) { // SHM3, SHM4: version, target and hash are compared exactly
	s := testSite(t, t.TempDir())
	must(t, s.deploy())
	must(t, os.WriteFile(s.bin.Path, []byte("another shim"), 0o755))
	s.bin = binaryAt(t, s.bin.Path)
	must(t, s.deploy())
	isDeployed(t, s)

	moved := filepath.Join(t.TempDir(), plain.ShimProgram)
	must(t, os.WriteFile(moved, []byte("another shim"), 0o755))
	s.bin = binaryAt(t, moved)
	must(t, s.deploy())
	isDeployed(t, s)

	s.want = []string{"npm", "jq"}
	must(t, s.deploy())
	isDeployed(t, s)

	// The same content with another time changes only the stamp.
	before := identities(t, filepath.Join(s.dir, plain.MetadataName))
	must(t, os.Chtimes(moved, time.Unix(1, 0), time.Unix(1, 0)))
	s.bin = binaryAt(t, moved)
	must(t, s.deploy())
	isDeployed(t, s)
	if after := identities(t, filepath.Join(s.dir, plain.MetadataName)); !slices.Equal(before, after) {
		t.Errorf(".version was written again")
	}
}

// TestDeployWithoutExchange: if no directory can be built beside the old one, the links change one
// by one.
func TestDeployWithoutExchange(t *testing.T) { // SHM3
	testenv.AsUser(t, func(t *testing.T) {
		s := testSite(t, t.TempDir())
		must(t, s.deploy())
		must(t, os.Remove(filepath.Join(s.dir, "npm")))
		must(t, os.Chmod(s.base, 0o500))
		t.Cleanup(func() { _ = os.Chmod(s.base, 0o700) })
		must(t, s.deploy())
		isDeployed(t, s)
	})
}

// TestDeployOnAMount: a mount cannot be exchanged, and neither can a directory of a lower layer.
// The directory that was built beside it is removed.
func TestDeployOnAMount(t *testing.T) { // SHM3
	testenv.InUserns(t, func(t *testing.T) {
		s := testSite(t, testenv.TempDir(t))
		must(t, os.Mkdir(s.dir, 0o700))
		must(t, unix.Mount("tmpfs", s.dir, "tmpfs", 0, ""))
		must(t, s.deploy())
		isDeployed(t, s)
		must(t, os.Remove(filepath.Join(s.dir, "npm")))
		must(t, s.deploy())
		isDeployed(t, s)
	})
}

// TestShimsBehindALink: if the directory is a link, its target stays where the user put it.
func TestShimsBehindALink(t *testing.T) { // SHM3
	s := testSite(t, t.TempDir())
	real := filepath.Join(t.TempDir(), "elsewhere")
	must(t, os.Mkdir(real, 0o700))
	must(t, os.Symlink(real, s.dir))
	must(t, s.deploy())
	isDeployed(t, s)
	if target, err := os.Readlink(s.dir); err != nil || target != real {
		t.Errorf("the user's link leads to %q, %v", target, err)
	}
	kept, err := s.empty()
	if list := content(t, real); err != nil || len(kept)+len(list) != 0 {
		t.Errorf("after a removal %q is left, kept %q, %v", list, kept, err)
	}
}

func TestDeployOnAFullDisk(t *testing.T) { // SHM3: what is there stays good
	testenv.InUserns(t, func(t *testing.T) {
		dir := testenv.TempDir(t)
		must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k,nr_inodes=24"))
		s := testSite(t, dir)
		must(t, s.deploy())
		s.want = nil
		for i := range 40 {
			s.want = append(s.want, fmt.Sprint("cmd", i))
		}
		old := *s
		if err := s.deploy(); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("deploy on a full disk = %v, want ENOSPC", err)
		}
		old.want = []string{"git", "npm", "sh"}
		isDeployed(t, &old)
	})
}

// TestParallelDeploys: deployments run one after the other, and each leaves a complete directory.
func TestParallelDeploys(t *testing.T) { // SHM3
	dir := t.TempDir()
	testSite(t, dir)
	var group sync.WaitGroup
	for n := range 8 {
		s := testSiteAt(t, dir, n%2)
		group.Go(func() {
			for range 10 {
				unlock, err := s.lock(askedWait)
				if err != nil {
					t.Error(err)
					return
				}
				if err := s.deploy(); err != nil {
					t.Error(err)
				}
				if !s.linked() {
					t.Error("the links are not those of the deployment that ended just now")
				}
				unlock()
			}
		})
	}
	group.Wait()
	last := testSiteAt(t, dir, 0)
	must(t, last.deploy())
	isDeployed(t, last)
}

// testSiteAt returns one of two installations that deploy to the same home.
func testSiteAt(t *testing.T, dir string, n int) *site {
	t.Helper()
	bin := filepath.Join(dir, fmt.Sprint("opt", n), plain.ShimProgram)
	must(t, os.MkdirAll(filepath.Dir(bin), 0o755))
	if _, err := os.Stat(bin); err != nil {
		must(t, os.WriteFile(bin, []byte(fmt.Sprint("shim ", n)), 0o755))
	}
	base := filepath.Join(dir, ".substrate")
	return &site{base: base, dir: filepath.Join(base, "shims"), bin: binaryAt(t, bin), want: []string{"git", "npm"}, known: []string{"git", "npm"}}
}

func TestLockIsNotWaitedForForEver(t *testing.T) { // SHM3
	s := testSite(t, t.TempDir())
	unlock, err := s.lock(time.Second)
	must(t, err)
	if _, err := s.lock(100 * time.Millisecond); !errors.Is(err, unix.EWOULDBLOCK) {
		t.Errorf("lock while another holds it = %v, want EWOULDBLOCK", err)
	}
	unlock()
	unlock, err = s.lock(time.Second)
	must(t, err)
	unlock()
}

func TestRemoveKeepsWhatIsNotOurs(t *testing.T) { // SHM1
	s := testSite(t, t.TempDir())
	must(t, s.deploy())
	must(t, os.WriteFile(filepath.Join(s.dir, "mine"), []byte("me"), 0o755))
	must(t, os.Symlink("/usr/bin/vim", filepath.Join(s.dir, "vi")))
	must(t, replaceLink(filepath.Join(s.dir, "git"), "/bin/true")) // by its name
	cfg := config.Config{Home: filepath.Dir(s.base), Dir: s.base, ShimDir: s.dir}
	for range 2 {
		kept, err := Remove(cfg)
		if err != nil || !slices.Equal(kept, []string{"mine", "vi"}) {
			t.Errorf("Remove kept %q, %v", kept, err)
		}
		if got := content(t, s.dir); !slices.Equal(got, []string{"mine=me", "vi -> /usr/bin/vim"}) {
			t.Errorf("after Remove the directory holds %q", got)
		}
	}
	must(t, os.Remove(filepath.Join(s.dir, "mine")))
	must(t, os.Remove(filepath.Join(s.dir, "vi")))
	if kept, err := Remove(cfg); err != nil || kept != nil {
		t.Errorf("Remove kept %q, %v", kept, err)
	}
	if _, err := os.Lstat(s.dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the empty directory is still there: %v", err)
	}
}

func TestWanted(t *testing.T) { // SHM2
	if n := len(wanted(config.ShimSettings{})); n != 25 {
		t.Errorf("%d commands by default, want 25", n)
	}
	got := strings.Join(wanted(config.ShimSettings{Add: []string{"terraform", "git", "x", "x"}, Remove: []string{"codex", "x", "nobody"}}), " ")
	if want := strings.TrimSuffix(strings.Join(defaultCommands, " "), " codex") + " terraform"; got != want {
		t.Errorf("wanted = %s, want %s", got, want)
	}
}

func TestStamp(t *testing.T) { // SHM3
	b := binary{plain.File{Path: "/opt/a b/substrate-shim", Dev: 1, Ino: 18446744073709551615, Size: 3, Mtime: -4}}
	if got, want := b.stamp(), version.Version+":1:18446744073709551615:3:-4:/opt/a b/substrate-shim"; got != want {
		t.Errorf("stamp = %q, want %q", got, want)
	}
}
