package state

import (
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"substrate/internal/hostfile"
	"substrate/internal/world/net/netns"
)

// Shared are files that every world needs and that never change. They lie in the run-time root, are
// made by the first world, and stay.
type Shared struct {
	Staging string // empty directory on which a world builds its root, in its own mount namespace
	Memory  string // empty directory on which a world mounts the tmpfs for its uppers, likewise
	Nothing string // empty directory that is shown in place of a hidden directory
	Empty   string // empty file that is shown in place of a hidden file
	Resolv  string // resolv.conf that names the stub resolver
}

// resolvConf is the text of Shared.Resolv.
var resolvConf = "# substrate: names are refused in this world, and listed\nnameserver " + netns.Addr4.String() + "\noptions timeout:1 attempts:1\n"

// MakeShared makes what is missing of the shared files below the run-time root run.
func MakeShared(run string) (Shared, error) {
	dir := filepath.Join(run, "props")
	s := Shared{Staging: dir + "/root", Memory: dir + "/memory", Nothing: dir + "/nothing", Empty: dir + "/empty", Resolv: dir + "/resolv.conf"}
	if CheckOwned(s.Nothing) == nil && hasSize(s.Resolv, len(resolvConf)) {
		return s, nil
	}
	for _, d := range []string{dir, s.Memory} {
		if err := makeRoot(d); err != nil {
			return s, fmt.Errorf("make the directory that all worlds share: %w", err)
		}
	}
	// The check above looks for the one that is made last, so whoever finds it finds all.
	err := errors.Join(hostfile.Replace(s.Empty, nil, 0o444), hostfile.Replace(s.Resolv, []byte(resolvConf), 0o444), makeRoot(s.Staging), makeRoot(s.Nothing))
	if err != nil {
		return s, fmt.Errorf("make the directory that all worlds share: %w", err)
	}
	return s, nil
}

func hasSize(path string, size int) bool {
	var st unix.Stat_t
	return unix.Lstat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Size == int64(size)
}
