package viewtest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The variables that RunRandom reads.
const (
	seedsVariable = "SUBSTRATE_SEEDS" // the number of seeds, or "FIRST+COUNT"
	seedVariable  = "SUBSTRATE_SEED"  // one seed, whose steps are printed
)

// seeds returns the seeds to run, from the variables or else n.
func seeds(n uint64) (first, count uint64, verbose bool) {
	if one, err := strconv.ParseUint(os.Getenv(seedVariable), 10, 64); err == nil {
		return one, 1, true
	}
	from, more, found := strings.Cut(os.Getenv(seedsVariable), "+")
	if !found {
		from, more = "0", from
	}
	first, err := strconv.ParseUint(from, 10, 64)
	count, err2 := strconv.ParseUint(more, 10, 64)
	if err != nil || err2 != nil {
		return 0, n, false
	}
	return first, count, false
}

// RunRandom runs n histories, or as many as SUBSTRATE_SEEDS says. A history makes a small tree,
// covers it, and does about forty random steps. The view must then report what the oracle sees.
// Every 32nd seed runs in the last of the strategy's directories. SUBSTRATE_SEED=N runs one seed
// and prints its steps.
func RunRandom(t *testing.T, s Strategy, n uint64) {
	t.Helper()
	first, n, verbose := seeds(n)
	t.Logf("%d seeds from %d", n, first)
	broken := 0
	for seed := first; seed < first+n && !t.Failed(); seed++ {
		dir := s.Dirs[0]
		if seed%32 == 31 {
			dir = s.Dirs[len(s.Dirs)-1]
		}
		if !runSeed(t, s, seed, dir, verbose) {
			broken++
		}
	}
	if allowed := s.MayBreak * int(n+99) / 100; broken > allowed {
		t.Errorf("%d of %d views broke, at most %d may", broken, n, allowed)
	}
}

// runSeed runs one history, and reports whether the view survived it.
func runSeed(t *testing.T, s Strategy, seed uint64, dir string, verbose bool) bool {
	t.Helper()
	work := newDir(t, dir, fmt.Sprintf("seed-%d", seed))
	defer WithCapabilities(t, func() { removeAll(t, work) })
	lower, scratch := filepath.Join(work, "lower"), filepath.Join(work, "scratch")
	for _, d := range []string{lower, scratch} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	h := &history{r: rand.New(rand.NewPCG(seed, 0)), root: lower, user: s.User, avoid: s.Avoid, without: s.Without}
	h.populate()
	d, changes, notes := observe(t, s, false, lower, scratch, func(root string) {
		h.root = root
		for range 5 + h.r.IntN(75) {
			h.step()
		}
	})
	if verbose {
		t.Logf("seed %d:\n%s", seed, strings.Join(h.log, "\n"))
	}
	if d == nil {
		return false
	}
	if diff := Judge(d, changes, notes); diff != "" || t.Failed() {
		t.Errorf("seed %d (SUBSTRATE_SEED=%d): (-oracle +got):\n%s\nhistory:\n%s", seed, seed, diff, strings.Join(h.log, "\n"))
	}
	return true
}

// history does random steps below a directory. Steps may fail: a command would go on as well.
type history struct {
	r    *rand.Rand
	root string
	user bool
	log  []string

	avoid   func(name string) bool
	without []string
}

// randomNames are few, so that steps often use the same name.
var randomNames = []string{"a", "b", "c", "d", "e", "f", "new\nline", "-n", "😀", "bad\xff", ".wh.a", ".wh..wh..opq", strings.Repeat("n", 255)}

func (h *history) name() string {
	if h.r.IntN(8) > 0 {
		return randomNames[h.r.IntN(6)]
	}
	name := randomNames[h.r.IntN(len(randomNames))]
	if h.avoid != nil && h.avoid(name) {
		return randomNames[0]
	}
	return name
}

// any returns an existing path. It prefers entries of the root.
func (h *history) any() string {
	path := h.root
	for {
		entries, err := os.ReadDir(path) // sorted, so that a seed always does the same
		if err != nil || len(entries) == 0 {
			return path
		}
		e := entries[h.r.IntN(len(entries))]
		path = filepath.Join(path, e.Name())
		if !e.IsDir() || h.r.IntN(3) == 0 {
			return path
		}
	}
}

// dir returns an existing directory.
func (h *history) dir() string {
	path := h.any()
	if info, err := os.Lstat(path); err != nil || !info.IsDir() {
		path = filepath.Dir(path)
	}
	if len(path) < len(h.root) || len(path) > len(h.root)+2000 {
		return h.root
	}
	return path
}

// fresh returns a path that may not exist yet.
func (h *history) fresh() string { return filepath.Join(h.dir(), h.name()) }

// file returns the path of a regular file, or "".
func (h *history) file() string {
	for range 4 {
		path := h.any()
		if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() {
			return path
		}
	}
	return ""
}

func (h *history) bytes() []byte {
	b := make([]byte, h.r.IntN(20))
	for i := range b {
		b[i] = "ab"[h.r.IntN(2)]
	}
	return b
}

// old returns one of a few old times, so that some are equal.
func (h *history) old() time.Time { return time.Unix(1e9+int64(h.r.IntN(2)), int64(h.r.IntN(2))) }

// populate makes the files before the change.
func (h *history) populate() {
	for range h.r.IntN(60) {
		path := h.fresh()
		switch h.r.IntN(14) {
		case 0, 1, 2, 3, 12, 13:
			_ = os.Mkdir(path, 0o755)
		case 4:
			_ = os.Symlink(h.name(), path)
		case 5:
			_ = unix.Mknod(path, []uint32{unix.S_IFIFO, unix.S_IFSOCK}[h.r.IntN(2)]|0o644, 0)
		case 6:
			if f := h.file(); f != "" && !slices.Contains(h.without, "link") {
				// Half of the links are in the same directory, where the diff finds them.
				if h.r.IntN(2) == 0 {
					path = filepath.Join(filepath.Dir(f), h.name())
				}
				_ = os.Link(f, path)
			}
		default:
			_ = writeFile(path, h.bytes(), 0o644)
		}
		if h.r.IntN(4) == 0 {
			_ = unix.Lsetxattr(path, "user.x", h.bytes(), 0)
		}
		if h.r.IntN(2) == 0 {
			h.setTime(path, h.old())
		}
		if !h.user && h.r.IntN(6) == 0 {
			_ = os.Lchown(path, h.r.IntN(2), h.r.IntN(2))
		}
	}
}

func (h *history) setTime(path string, when time.Time) {
	ts := unix.NsecToTimespec(when.UnixNano())
	_ = unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
}

// randomStep is a step of a history. Likely steps are in the list more than once.
type randomStep struct {
	name string // for Strategy.Without
	do   func(*history) (what string, err error)
}

// randomSteps may have any order, but another order changes the meaning of a seed.
var randomSteps = []randomStep{
	{"create", (*history).create},
	{"create", (*history).create},
	{"create", (*history).create},
	{"write", (*history).write},
	{"write", (*history).write},
	{"rewrite", (*history).rewrite},
	{"writeAndPutTimeBack", (*history).writeAndPutTimeBack},
	{"open", (*history).open},
	{"remove", (*history).remove},
	{"remove", (*history).remove},
	{"removeAll", (*history).removeAll},
	{"removeAll", (*history).removeAll},
	{"mkdir", (*history).mkdir},
	{"mkdir", (*history).mkdir},
	{"rename", (*history).rename},
	{"rename", (*history).rename},
	{"rename", (*history).rename},
	{"rename", (*history).rename},
	{"renameDir", (*history).renameDir},
	{"renameDir", (*history).renameDir},
	{"exchange", (*history).exchange},
	{"exchangeDirs", (*history).exchangeDirs},
	{"exchangeDirs", (*history).exchangeDirs},
	{"symlink", (*history).symlink},
	{"link", (*history).link},
	{"link", (*history).link},
	{"chmod", (*history).chmod},
	{"chmodSame", (*history).chmodSame},
	{"touch", (*history).touch},
	{"touchDir", (*history).touchDir},
	{"xattr", (*history).xattr},
	{"special", (*history).special},
	{"remake", (*history).remake},
	{"remake", (*history).remake},
	{"swap", (*history).swap},
	{"swap", (*history).swap},
	{"replace", (*history).replace},
	{"chown", (*history).chown},
}

// step does one random step.
func (h *history) step() {
	s := randomSteps[h.r.IntN(len(randomSteps))]
	if slices.Contains(h.without, s.name) {
		return
	}
	what, err := s.do(h)
	what = strings.ReplaceAll(what, h.root, "")
	if err != nil {
		what += " # " + strings.ReplaceAll(err.Error(), h.root, "")
	}
	h.log = append(h.log, what)
}

func (h *history) create() (string, error) {
	path := h.fresh()
	return fmt.Sprintf("write %q", path), writeFile(path, h.bytes(), 0o644)
}

func (h *history) write() (string, error) {
	path := h.file()
	if path == "" {
		return "write nothing", nil
	}
	flags := []int{os.O_APPEND, os.O_TRUNC, 0}[h.r.IntN(3)]
	f, err := os.OpenFile(path, os.O_WRONLY|flags|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Sprintf("change %q", path), err
	}
	defer f.Close()
	b := h.bytes()
	_, err = f.Write(b)
	return fmt.Sprintf("change %q flags %#x %q", path, flags, b), err
}

func (h *history) rewrite() (string, error) {
	path := h.file()
	b, err := os.ReadFile(path)
	if err == nil {
		err = writeFile(path, b, 0o644)
	}
	return fmt.Sprintf("rewrite %q", path), err
}

func (h *history) writeAndPutTimeBack() (string, error) {
	path := h.file()
	info, err := os.Lstat(path)
	if err != nil {
		return "put back nothing", nil
	}
	b, err := os.ReadFile(path)
	if err == nil && len(b) > 0 && h.r.IntN(2) == 0 {
		b[h.r.IntN(len(b))] = 'z'
	}
	if err == nil {
		err = writeFile(path, b, 0o644)
	}
	h.setTime(path, info.ModTime())
	return fmt.Sprintf("write %q, time put back", path), err
}

func (h *history) open() (string, error) {
	path := h.file()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err == nil {
		err = f.Close()
	}
	return fmt.Sprintf("open %q", path), err
}

func (h *history) remove() (string, error) {
	path := h.any()
	if path == h.root {
		return "remove nothing", nil
	}
	return fmt.Sprintf("remove %q", path), os.Remove(path)
}

func (h *history) removeAll() (string, error) {
	path := h.any()
	if path == h.root {
		return "remove nothing", nil
	}
	return fmt.Sprintf("remove -r %q", path), os.RemoveAll(path)
}

func (h *history) mkdir() (string, error) {
	path := h.fresh()
	return fmt.Sprintf("mkdir %q", path), os.Mkdir(path, 0o755)
}

func (h *history) rename() (string, error) {
	from, to := h.any(), h.fresh()
	if from == h.root {
		return "rename nothing", nil
	}
	return fmt.Sprintf("rename %q %q", from, to), os.Rename(from, to)
}

func (h *history) renameDir() (string, error) {
	from, to := h.dir(), h.fresh()
	if from == h.root {
		return "rename nothing", nil
	}
	return fmt.Sprintf("rename directory %q %q", from, to), os.Rename(from, to)
}

func (h *history) exchange() (string, error) {
	from, to := h.any(), h.any()
	if from == h.root || to == h.root {
		return "exchange nothing", nil
	}
	return fmt.Sprintf("exchange %q %q", from, to), unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_EXCHANGE)
}

// exchangeDirs exchanges two directories, so that the new and the old one are both merged.
func (h *history) exchangeDirs() (string, error) {
	from, to, between := h.dir(), h.dir(), filepath.Join(h.root, "between")
	if from == h.root || to == h.root {
		return "exchange nothing", nil
	}
	what := fmt.Sprintf("exchange directories %q %q", from, to)
	if err := os.Rename(from, between); err != nil {
		return what, err
	}
	return what, errors.Join(os.Rename(to, from), os.Rename(between, to))
}

func (h *history) symlink() (string, error) {
	path, target := h.fresh(), h.name()
	return fmt.Sprintf("symlink %q %q", target, path), os.Symlink(target, path)
}

func (h *history) link() (string, error) {
	from, to := h.any(), h.fresh()
	return fmt.Sprintf("link %q %q", from, to), os.Link(from, to)
}

func (h *history) chmod() (string, error) {
	path, mode := h.any(), []uint32{0, 0o600, 0o644, 0o700, 0o755, 0o2755, 0o500}[h.r.IntN(7)]
	if path == h.root {
		mode = 0o755
	}
	return fmt.Sprintf("chmod %o %q", mode, path), unix.Fchmodat(unix.AT_FDCWD, path, mode, unix.AT_SYMLINK_NOFOLLOW)
}

func (h *history) chmodSame() (string, error) {
	path := h.any()
	info, err := os.Lstat(path)
	if err == nil {
		err = os.Chmod(path, info.Mode())
	}
	return fmt.Sprintf("chmod to the same %q", path), err
}

func (h *history) touch() (string, error) {
	path, when := h.any(), h.old()
	h.setTime(path, when)
	return fmt.Sprintf("touch %q %v", path, when.UnixNano()), nil
}

func (h *history) touchDir() (string, error) {
	path := h.dir()
	h.setTime(path, h.old())
	return fmt.Sprintf("touch %q", path), nil
}

func (h *history) xattr() (string, error) {
	path := h.any()
	name := []string{"user.x", "user.y", "user.overlay.opaque", "user.overlay.whiteout", "trusted.overlay.opaque", "trusted.overlay.redirect"}[h.r.IntN(6)]
	if h.r.IntN(3) == 0 {
		return fmt.Sprintf("remove xattr %s %q", name, path), unix.Lremovexattr(path, name)
	}
	b := h.bytes()
	return fmt.Sprintf("set xattr %s %q %q", name, path, b), unix.Lsetxattr(path, name, b, 0)
}

func (h *history) special() (string, error) {
	path, mode := h.fresh(), []uint32{unix.S_IFIFO, unix.S_IFSOCK}[h.r.IntN(2)]
	return fmt.Sprintf("mknod %o %q", mode, path), unix.Mknod(path, mode|0o644, 0)
}

// remake deletes a directory and makes it again, perhaps with some of its files.
func (h *history) remake() (string, error) {
	path := h.dir()
	if path == h.root {
		return "remake nothing", nil
	}
	err := os.RemoveAll(path)
	if err == nil {
		err = os.Mkdir(path, 0o755)
	}
	if err == nil && h.r.IntN(2) == 0 {
		err = writeFile(filepath.Join(path, h.name()), h.bytes(), 0o644)
	}
	return fmt.Sprintf("remake %q", path), err
}

// swap replaces a path by something of another type.
func (h *history) swap() (string, error) {
	path := h.any()
	if path == h.root {
		return "swap nothing", nil
	}
	info, err := os.Lstat(path)
	if err == nil {
		err = os.RemoveAll(path)
	}
	switch {
	case err != nil:
	case info.IsDir():
		err = writeFile(path, h.bytes(), 0o644)
	case h.r.IntN(3) == 0:
		err = os.Symlink(h.name(), path)
	default:
		err = os.Mkdir(path, 0o755)
	}
	return fmt.Sprintf("swap %q", path), err
}

// replace writes a new file and renames it over the old one, as editors do.
func (h *history) replace() (string, error) {
	path := h.file()
	if path == "" {
		return "replace nothing", nil
	}
	err := writeFile(path+"~", h.bytes(), 0o644)
	if err == nil {
		err = os.Rename(path+"~", path)
	}
	return fmt.Sprintf("replace %q", path), err
}

func (h *history) chown() (string, error) {
	path, uid, gid := h.any(), h.r.IntN(2), h.r.IntN(2)
	if path == h.root {
		return "chown nothing", nil
	}
	return fmt.Sprintf("chown %d:%d %q", uid, gid, path), os.Lchown(path, uid, gid)
}

// writeFile is os.WriteFile, but does not wait for the reader of a fifo.
func writeFile(path string, b []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NONBLOCK, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Close())
}
