package procstate

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"unsafe"
)

// TestOffsets holds the offsets in the assembly against the struct.
func TestOffsets(t *testing.T) {
	var s start
	want := map[string]uintptr{
		"path": unsafe.Offsetof(s.path), "argv": unsafe.Offsetof(s.argv), "envv": unsafe.Offsetof(s.envv),
		"ignored": unsafe.Offsetof(s.ignored), "blocked": unsafe.Offsetof(s.blocked), "closed": unsafe.Offsetof(s.closed),
		"noFile": unsafe.Offsetof(s.noFile), "all": unsafe.Offsetof(s.all), "old": unsafe.Offsetof(s.old),
		"errno": unsafe.Offsetof(s.errno), "dfl": unsafe.Offsetof(s.dfl), "ign": unsafe.Offsetof(s.ign),
	}
	define := regexp.MustCompile(`(?m)^#define start_(\w+) (\d+)$`)
	for _, file := range []string{"start_amd64.s", "start_arm64.s"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		found := define.FindAllStringSubmatch(string(text), -1)
		if len(found) != len(want) {
			t.Errorf("%s defines %d offsets, want %d", file, len(found), len(want))
		}
		for _, m := range found {
			if got, _ := strconv.Atoi(m[2]); uintptr(got) != want[m[1]] {
				t.Errorf("%s: start_%s is %d, want %d", file, m[1], got, want[m[1]])
			}
		}
	}
}

func TestStart(t *testing.T) { // REC1
	out := filepath.Join(t.TempDir(), "out")
	pid, err := Start("/bin/sh", []string{"sh", "-c", `echo "$A $0 $1" > "$OUT"; exit 7`, "zero", "one"}, []string{"A=b c", "OUT=" + out})
	if err != nil {
		t.Fatal(err)
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil || status.ExitStatus() != 7 {
		t.Errorf("Wait4 = %v, status %v, want 7", err, status)
	}
	if text, err := os.ReadFile(out); err != nil || string(text) != "b c zero one\n" {
		t.Errorf("the program wrote %q, %v", text, err)
	}
}

func TestStartFails(t *testing.T) { // REC4
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{"/no/such": syscall.ENOENT, plain: syscall.EACCES, "/": syscall.EACCES, "a\x00b": syscall.EINVAL} {
		pid, err := Start(path, []string{"x"}, nil)
		if !errors.Is(err, want) {
			t.Errorf("Start(%q) = %d, %v, want %v", path, pid, err, want)
		}
	}
	if _, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); !errors.Is(err, syscall.ECHILD) {
		t.Errorf("a child that could not execute is left: %v", err)
	}
}

// TestStartBesideGoroutines starts programs while the collector and other goroutines run:
// the child borrows our memory and must not disturb it.
func TestStartBesideGoroutines(t *testing.T) {
	stop := make(chan struct{})
	defer close(stop)
	for range 4 {
		go func() {
			for {
				select {
				case <-stop:
					return
				default:
					_ = make([]byte, 1<<16)
				}
			}
		}()
	}
	for i := range 200 {
		pid, err := Start("/bin/true", []string{"true"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		var status syscall.WaitStatus
		if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil || status != 0 {
			t.Fatalf("run %d: status %v, %v", i, status, err)
		}
	}
}

func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		pid, err := Start("/bin/true", []string{"true"}, nil)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := syscall.Wait4(pid, nil, 0, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkForkExec is what the standard library takes for the same.
func BenchmarkForkExec(b *testing.B) {
	for b.Loop() {
		pid, err := syscall.ForkExec("/bin/true", []string{"true"}, &syscall.ProcAttr{Files: []uintptr{0, 1, 2}})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := syscall.Wait4(pid, nil, 0, nil); err != nil {
			b.Fatal(err)
		}
	}
}
