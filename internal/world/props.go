package world

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"substrate/internal/world/net/netns"
)

// props are what every world needs on the host and what never changes: they lie in the run-time
// root, are made by the first world, and stay.
type props struct {
	staging string // empty directory on which a world builds its root, in its own mount namespace
	tmpfs   string // empty directory on which a world mounts the memory for its uppers, likewise
	nothing string // empty directory, shown where one is masked
	empty   string // empty file, shown where a file is masked
	resolv  string // resolv.conf that names the stub resolver
}

// resolvConf is the text of props.resolv.
var resolvConf = "# substrate: names are refused in this world, and listed\nnameserver " + netns.Addr4.String() + "\noptions timeout:1 attempts:1\n"

// makeProps makes what is missing below the run-time root.
func makeProps(run string) (props, error) {
	dir := filepath.Join(run, "props")
	p := props{staging: dir + "/root", tmpfs: dir + "/memory", nothing: dir + "/nothing", empty: dir + "/empty", resolv: dir + "/resolv.conf"}
	if checkOwned(p.nothing) == nil && hasSize(p.resolv, len(resolvConf)) {
		return p, nil
	}
	for _, d := range []string{dir, p.tmpfs} {
		if err := makeRoot(d); err != nil {
			return p, fmt.Errorf("make what all worlds share: %w", err)
		}
	}
	// The last one made is the one looked for above, so that whoever finds it finds all.
	err := errors.Join(writeOnce(p.empty, ""), writeOnce(p.resolv, resolvConf), makeRoot(p.staging), makeRoot(p.nothing))
	if err != nil {
		return p, fmt.Errorf("make what all worlds share: %w", err)
	}
	return p, nil
}

func hasSize(path string, size int) bool {
	var st unix.Stat_t
	return unix.Lstat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Size == int64(size)
}

// writeOnce gives path its text in one step, for all who make it at the same time.
func writeOnce(path, text string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Chmod(0o444), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// readMountInfo reads the mounts as the calling process sees them. It is on the way to every
// world, so it goes without the poller that package os puts a file into.
func readMountInfo() ([]byte, error) {
	fd, err := unix.Open("/proc/self/mountinfo", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(fd) }()
	buf := make([]byte, 0, 16<<10)
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := unix.Read(fd, buf[len(buf):cap(buf)])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return buf, nil
		}
		buf = buf[:len(buf)+n]
	}
}
