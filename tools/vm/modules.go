package main

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
)

// wanted are the modules that a plain machine has loaded, or loads on demand, when substrate runs.
// The guest has no modprobe, so it loads all of them at the start. A built-in module has no file.
var wanted = []string{
	"virtio_pci", "virtio_blk", "ext4", // the disk
	"virtio_console", // the line to the host
	"overlay", "fuse", "loop", "xfs",
	"nf_tables", "nft_log", "nft_limit", "nft_reject", "nft_reject_inet", "nft_ct", "nf_conntrack", "nf_log_syslog", "nfnetlink_log",
	"tun", "veth", "dummy",
}

// moduleFiles lists the files of the wanted modules in an order in which they can be loaded.
func moduleFiles(dir string) ([]string, error) {
	byName := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if name, ok := strings.CutSuffix(filepath.Base(path), ".ko"); err == nil && ok && !e.IsDir() {
			byName[canonical(name)] = path
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var files []string
	done := map[string]bool{}
	var add func(name string) error
	add = func(name string) error {
		path := byName[name]
		if done[name] || path == "" {
			return nil
		}
		done[name] = true
		needs, err := dependencies(path)
		if err != nil {
			return err
		}
		for _, n := range needs {
			if err := add(n); err != nil {
				return err
			}
		}
		files = append(files, path)
		return nil
	}
	for _, name := range wanted {
		if err := add(name); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// canonical is the name by which modules know each other: files may have - where it has _.
func canonical(name string) string { return strings.ReplaceAll(name, "-", "_") }

// softNeeds are the modules that a module loads by name while it runs.
var softNeeds = map[string][]string{"ext4": {"crc32c_generic", "crc32c_intel"}, "xfs": {"crc32c_generic"}}

// dependencies reads what a module names as its needs.
//
// Source: modinfo(8); the section .modinfo holds lines "key=value" that end in NUL.
func dependencies(path string) ([]string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read module %s: %w", path, err)
	}
	defer func() { _ = f.Close() }()
	section := f.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("module %s has no .modinfo", path)
	}
	data, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("read module %s: %w", path, err)
	}
	needs := append([]string(nil), softNeeds[canonical(strings.TrimSuffix(filepath.Base(path), ".ko"))]...)
	for line := range bytes.SplitSeq(data, []byte{0}) {
		if list, ok := bytes.CutPrefix(line, []byte("depends=")); ok {
			for name := range strings.SplitSeq(string(list), ",") {
				needs = append(needs, canonical(name))
			}
		}
	}
	return needs, nil
}
