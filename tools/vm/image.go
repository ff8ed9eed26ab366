package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"substrate/tools/vm/job"
)

// etc holds the files that programs look for.
var etc = map[string]string{
	"etc/passwd": fmt.Sprintf("root:x:0:0:root:/root:/bin/bash\nuser:x:%[1]d:%[1]d::/home/user:/bin/bash\n"+
		"nobody:x:65534:65534::/:/bin/false\n", job.UID),
	"etc/group":         fmt.Sprintf("root:x:0:\ntty:x:5:\nuser:x:%d:\nnogroup:x:65534:\n", job.UID),
	"etc/shadow":        "root:*:1::::::\nuser:*:1::::::\n",
	"etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n",
	"etc/hosts":         "127.0.0.1 localhost\n::1 localhost\n",
	"etc/resolv.conf":   "nameserver 192.0.2.53\n",
	"etc/os-release":    "ID=debian\nPRETTY_NAME=\"Debian test machine\"\n",
	"etc/mtab":          "",
}

// image is the tree that becomes the disk, beside Debian's.
type image struct{ root string }

// newImage copies Debian's programs to root, by links where the file system allows them.
func newImage(debian, root string) (*image, error) {
	if out, err := exec.Command("cp", "-al", filepath.Join(debian, "root"), root).CombinedOutput(); err != nil {
		_ = os.RemoveAll(root)
		if out, err = exec.Command("cp", "-a", filepath.Join(debian, "root"), root).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("copy Debian's programs: %w: %s", err, out)
		}
	}
	for _, dir := range []string{"root", "home/user", "var/lib", "mnt", "opt", "tmp", "var/tmp"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return nil, err
		}
	}
	for _, dir := range []string{"tmp", "var/tmp"} {
		if err := os.Chmod(filepath.Join(root, dir), os.ModeSticky|0o777); err != nil {
			return nil, err
		}
	}
	for name, text := range etc {
		mode, path := fs.FileMode(0o644), filepath.Join(root, name)
		if name == "etc/shadow" {
			mode = 0o600
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			return nil, err
		}
	}
	return &image{root}, nil
}

// copy copies a file of this machine to a place in the tree.
func (im *image) copy(from, to string) error {
	to = filepath.Join(im.root, to)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// copyTree copies the regular files of a directory.
func (im *image) copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		return im.copy(path, filepath.Join(to, rel))
	})
}

// disk writes an ext4 file system with the tree in it. Nothing is mounted on this machine.
//
// Source: mke2fs(8), -d.
func (im *image) disk(to string) error {
	if err := os.WriteFile(to, nil, 0o600); err != nil {
		return err
	}
	if err := os.Truncate(to, 2<<30); err != nil {
		return err
	}
	out, err := exec.Command("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1,root_owner=0:0", "-d", im.root, to).CombinedOutput()
	if err != nil {
		return fmt.Errorf("mkfs.ext4: %w: %s", err, out)
	}
	return nil
}
