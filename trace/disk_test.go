//go:build linux

package trace_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"substrate/trace"
)

// REC9, TRC2: a full disk gives an error, and when there is room again the next line is whole.
// The disk is a small tmpfs in a namespace, in which the test runs again.
func TestFullDisk(t *testing.T) {
	if os.Getenv("TRACE_TEST_DISK") == "" {
		runInMountNamespace(t)
		return
	}
	dir := os.Getenv("TRACE_TEST_DISK")
	must(t, syscall.Mount("none", dir, "tmpfs", 0, "size=64k,mode=0700"))
	path, ballast := filepath.Join(dir, "trace.jsonl"), filepath.Join(dir, "ballast")
	must(t, os.WriteFile(ballast, make([]byte, 40<<10), 0o600))
	w, err := trace.Open(path, trace.AppendOptions{})
	must(t, err)
	must(t, w.Write(testStart("before")))
	big := testStart(strings.Repeat("big ", 10<<10))
	failed := 0
	for range 2 { // the first write is short, the second cannot begin
		if err := w.Write(big); err != nil {
			failed++
			if !isFull(err) {
				t.Errorf("Write on a full disk = %v", err)
			}
		}
	}
	if failed != 2 {
		t.Errorf("%d of 2 writes failed", failed)
	}
	must(t, os.Remove(ballast))
	must(t, w.Write(testStart("after")))
	must(t, w.Close())
	var cmds []string
	must(t, trace.Scan(path, func(r *trace.Record) error {
		cmds = append(cmds, r.Cmd)
		return nil
	}))
	if fmt.Sprint(cmds) != "[before after]" {
		t.Errorf("commands %.100q, want before and after", cmds)
	}
	if n := len(readLines(t, path)); n != 3 {
		t.Errorf("%d lines, want 3 with the torn one", n)
	}
}

func runInMountNamespace(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestFullDisk$", "-test.v")
	cmd.Env = append(os.Environ(), "TRACE_TEST_DISK="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err != nil && !errors.As(err, &exit) && os.Getenv("SUBSTRATE_NO_SKIP") == "":
		t.Skipf("user namespaces are not available here: %v", err)
	case err != nil || !strings.Contains(string(out), "--- PASS: TestFullDisk"):
		t.Errorf("in the namespace: %v\n%s", err, out)
	}
}

// isFull reports whether err is that of a full disk.
func isFull(err error) bool {
	return errors.Is(err, io.ErrShortWrite) || errors.Is(err, syscall.ENOSPC)
}
