package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"substrate/tools/vm/job"
)

// programs are those of this machine that the guest gets, with the libraries that they load. One that this machine
// does not have is left out.
var programs = strings.Fields(`
bash sh dash cat cp mv rm ln ls mkdir rmdir touch chmod chown chgrp head tail tr sort uniq wc cut tee seq sleep true false test printf echo env id
basename dirname readlink realpath stat dd mknod mkfifo date sync truncate df du uname kill timeout nproc od cmp diff sha256sum tac paste yes
grep egrep sed awk find xargs ps pgrep pkill mount umount findmnt unshare nsenter setpriv flock dmesg losetup mkfs.ext4 mke2fs mkfs.xfs
ip nft jq getent getfattr setfattr getfacl setfacl setsid script fuse-overlayfs fusermount3 fusermount bwrap sysctl tar gzip strace lsblk chroot mktemp mountpoint expr hostname
capsh getcap setcap`)

// etc are the files that programs look for.
var etc = map[string]string{
	"etc/passwd":        fmt.Sprintf("root:x:0:0:root:/root:/bin/bash\nuser:x:%[1]d:%[1]d::/home/user:/bin/bash\nnobody:x:65534:65534::/:/bin/false\n", job.UID),
	"etc/group":         fmt.Sprintf("root:x:0:\ntty:x:5:\nuser:x:%d:\nnogroup:x:65534:\n", job.UID),
	"etc/shadow":        "root:*:1::::::\nuser:*:1::::::\n",
	"etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n",
	"etc/hosts":         "127.0.0.1 localhost\n::1 localhost\n",
	"etc/resolv.conf":   "nameserver 192.0.2.53\n",
	"etc/os-release":    "ID=debian\nPRETTY_NAME=\"Debian test machine\"\n",
	"etc/mtab":          "",
}

// image is the tree that becomes the disk.
type image struct{ root string }

// newImage makes a tree with the programs of this machine.
func newImage(root string) (*image, error) {
	im := &image{root}
	for _, dir := range []string{"usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "dev", "proc", "sys", "run", "etc", "root", "home/user", "var/lib", "mnt", "opt"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return nil, err
		}
	}
	for _, dir := range []string{"tmp", "var/tmp"} {
		path := filepath.Join(root, dir)
		if err := errors.Join(os.MkdirAll(path, 0o755), os.Chmod(path, os.ModeSticky|0o777)); err != nil {
			return nil, err
		}
	}
	for _, link := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := os.Symlink("usr/"+link, filepath.Join(root, link)); err != nil {
			return nil, err
		}
	}
	for name, text := range etc {
		mode := fs.FileMode(0o644)
		if name == "etc/shadow" {
			mode = 0o600
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), mode); err != nil {
			return nil, err
		}
	}
	for _, name := range []string{"/etc/protocols", "/etc/services"} {
		if err := im.copy(name, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	for _, name := range programs {
		if path, err := exec.LookPath(name); err == nil {
			if err := im.program(path); err != nil {
				return nil, err
			}
		}
	}
	return im, nil
}

// program copies a program of this machine and what it loads.
func (im *image) program(path string) error {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	if err := im.copy(real, "/usr/bin/"+filepath.Base(path)); err != nil {
		return err
	}
	out, err := exec.Command("ldd", real).Output()
	if err != nil {
		return nil // a script, or static
	}
	for line := range strings.Lines(string(out)) {
		for _, word := range strings.Fields(line) {
			if strings.HasPrefix(word, "/") {
				if err := im.copy(word, usr(word)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// usr is the place of a library in a tree whose /lib is a link to /usr/lib.
func usr(path string) string {
	if strings.HasPrefix(path, "/lib") {
		return "/usr" + path
	}
	return path
}

// copy copies a file of this machine to a place in the tree, once.
func (im *image) copy(from, to string) error {
	to = filepath.Join(im.root, to)
	if _, err := os.Stat(to); err == nil {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// copyTree copies a directory; only regular files count.
func (im *image) copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !e.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		return im.copy(path, filepath.Join(to, rel))
	})
}

// disk makes an ext4 file system with the tree in it. Nothing is mounted on this machine.
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
		return fmt.Errorf("mkfs.ext4: %w: %s", err, firstLine(out))
	}
	return nil
}

// firstLine is the first line of what a program said.
func firstLine(out []byte) string {
	s := bufio.NewScanner(bytes.NewReader(out))
	s.Scan()
	return s.Text()
}
