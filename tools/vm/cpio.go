package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"substrate/tools/vm/job"
)

// archive is an initramfs, uncompressed: the kernel unpacks that fastest.
//
// Source: Linux Documentation/driver-api/early-userspace/buffer-format.rst.
type archive struct {
	b     bytes.Buffer
	inode int
}

const (
	modeDir  = 0o040755
	modeFile = 0o100755
	modeChar = 0o020600
)

// add appends one entry; major and minor are those of a device.
func (a *archive) add(name string, mode int, data []byte, major, minor int) {
	a.inode++
	fmt.Fprintf(&a.b, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
		a.inode, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(name)+1, 0)
	a.b.WriteString(name)
	a.b.WriteByte(0)
	a.pad()
	a.b.Write(data)
	a.pad()
}

// pad fills up to a multiple of four.
func (a *archive) pad() {
	for a.b.Len()%4 != 0 {
		a.b.WriteByte(0)
	}
}

// initramfs writes the archive with the init process, its modules and its jobs.
func initramfs(to, guest string, modules []string, jobs []job.Job) error {
	var a archive
	for _, dir := range []string{"dev", "proc", "modules", "disk"} {
		a.add(dir, modeDir, nil, 0, 0)
	}
	// The kernel opens it as standard output of the init process before anything is mounted.
	a.add("dev/console", modeChar, nil, 5, 1)
	program, err := os.ReadFile(guest)
	if err != nil {
		return err
	}
	a.add("init", modeFile, program, 0, 0)
	for i, path := range modules {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		a.add(fmt.Sprintf("modules/%03d-%s", i, filepath.Base(path)), modeFile, data, 0, 0)
	}
	list, err := json.Marshal(job.List{Jobs: jobs})
	if err != nil {
		return err
	}
	a.add(job.ListPath[1:], modeFile, list, 0, 0)
	a.add("TRAILER!!!", 0, nil, 0, 0)
	return os.WriteFile(to, a.b.Bytes(), 0o600)
}
