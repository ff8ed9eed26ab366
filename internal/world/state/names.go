package state

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"substrate/internal/world/cgroup"
	"substrate/internal/world/net/netns"
)

// maxName is the length of the longest name of a world. It leaves room below the 64 characters of
// an nft table for "substrate_".
const maxName = 52

// CheckName reports why name must not become part of a path, a network namespace and an nft table.
func CheckName(name string) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("world name %q: want 1 to %d characters", name, maxName)
	}
	for _, c := range []byte(name) {
		if c != '_' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return fmt.Errorf("world name %q: want only letters, digits and _", name)
		}
	}
	return nil
}

// NameOf is the name of a world that replays the span id: the id itself if it is a valid name and
// leaves room for _2, _3 …, else spn_ and the first 16 hex digits of its SHA-256.
func NameOf(id string) string {
	if len(id) <= 40 && CheckName(id) == nil {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return "spn_" + hex.EncodeToString(sum[:8])
}

// Claim is the name of a living world. Nobody else gets the name while Lock or a copy of it is
// open.
type Claim struct {
	Name string
	Dir  string // the state directory
	Lock int    // descriptor of Dir
}

// Take locks the first free of name, name_2, name_3 … in the directory worlds, see [Worlds]. If a
// crashed world had the name, its objects are removed first. root is true for a caller with a
// root's capabilities.
func Take(worlds, name string, root bool, dirs Dirs) (Claim, error) {
	wanted := name
	for n := 1; ; {
		if n > 1 {
			name = wanted + "_" + strconv.Itoa(n)
		}
		dir := filepath.Join(worlds, name)
		if usedElsewhere(name, dir, root) {
			n++
			continue
		}
		fd, fresh, err := lockDir(dir)
		switch {
		case errors.Is(err, errTaken):
			n++
		case err != nil:
			return Claim{}, err
		case fresh:
			if err := CheckName(name); err != nil {
				return Claim{}, errors.Join(err, unix.Rmdir(dir), unix.Close(fd))
			}
			return Claim{Name: name, Dir: dir, Lock: fd}, nil
		default:
			if removeWorld(Read(dir), dir, dirs) != nil {
				n++
			}
			_ = unix.Close(fd)
		}
	}
}

// usedElsewhere reports whether a world with another run-time root has objects of that name:
// cgroups and named network namespaces exist once on the machine.
func usedElsewhere(name, dir string, root bool) bool {
	var paths []string
	if parent, err := cgroup.Parent(root); err == nil {
		paths = append(paths, filepath.Join(parent, name))
	}
	if root {
		paths = append(paths, filepath.Join(netns.Dir, netns.Prefix+name))
	}
	for _, path := range paths {
		var st unix.Stat_t
		if unix.Lstat(path, &st) == nil {
			// With a state directory of ours beside it, it is ours, or that of a world of ours that
			// died.
			return unix.Lstat(dir, &st) != nil
		}
	}
	return false
}
