package state

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds the wait for something that must come.
const patience = 30 * time.Second

func closeFD(fd int) {
	if fd >= 0 {
		_ = unix.Close(fd)
	}
}

func noSignals() <-chan os.Signal { return nil }

// WLD10: at most Max worlds have a slot; Waiting is called once, and TakeSlot returns when a
// world ends.
func TestSlots(t *testing.T) {
	dir := slotsDir(t)
	told := make(chan int, 10)
	slots := Slots{Max: 2, Waiting: func(n int) { told <- n }}
	var fds []int
	for range 2 {
		fd, err := TakeSlot(dir, slots, noSignals)
		if err != nil {
			t.Fatal(err)
		}
		fds = append(fds, fd)
	}
	if len(told) > 0 {
		t.Fatal("Waiting was called while there were free places")
	}
	got := make(chan int)
	for range 3 {
		go func() {
			fd, err := TakeSlot(dir, slots, noSignals)
			if err != nil {
				t.Error(err)
			}
			got <- fd
		}()
	}
	for range 3 {
		if n := <-told; n != 2 {
			t.Errorf("Waiting(%d), want 2", n)
		}
	}
	select {
	case <-got:
		t.Fatal("a third world got a slot")
	case <-time.After(50 * time.Millisecond):
	}
	for range 3 {
		closeFD(fds[len(fds)-1])
		fds = fds[:len(fds)-1]
		select {
		case fd := <-got:
			fds = append(fds, fd)
		case <-time.After(patience):
			t.Fatal("a slot became free and nobody got it")
		}
	}
	for _, fd := range fds {
		closeFD(fd)
	}
}

// WLD10: many takers, never more than Max at once.
func TestSlotsBound(t *testing.T) {
	dir := slotsDir(t)
	var running, most atomic.Int32
	var all sync.WaitGroup
	for range 30 {
		all.Go(func() {
			fd, err := TakeSlot(dir, Slots{Max: 3}, noSignals)
			if err != nil {
				t.Error(err)
				return
			}
			now := running.Add(1)
			for old := most.Load(); now > old && !most.CompareAndSwap(old, now); old = most.Load() {
			}
			time.Sleep(time.Millisecond)
			running.Add(-1)
			closeFD(fd)
		})
	}
	all.Wait()
	if n := most.Load(); n > 3 || n < 1 {
		t.Errorf("%d at once, want at most 3", n)
	}
}

// TestSlotHolder is not a test: it is the process that TestSlotOfKilled kills.
func TestSlotHolder(t *testing.T) {
	dir := os.Getenv("SUBSTRATE_TEST_SLOT_DIR")
	if dir == "" {
		return
	}
	if _, err := TakeSlot(dir, Slots{Max: 1}, noSignals); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "held"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	select {}
}

// WLD10: the slot of a killed holder becomes free.
func TestSlotOfKilled(t *testing.T) {
	dir := slotsDir(t)
	holder := exec.Command(os.Args[0], "-test.run=^TestSlotHolder$")
	holder.Env = append(os.Environ(), "SUBSTRATE_TEST_SLOT_DIR="+dir)
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(filepath.Join(dir, "held")); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the holder does not start")
		}
	}
	waits := make(chan int, 1)
	got := make(chan error, 1)
	go func() {
		fd, err := TakeSlot(dir, Slots{Max: 1, Waiting: func(n int) { waits <- n }}, noSignals)
		closeFD(fd)
		got <- err
	}()
	<-waits
	_ = holder.Process.Kill()
	_ = holder.Wait()
	select {
	case err := <-got:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("the slot of a killed holder never becomes free")
	}
}

// WLD10: a signal ends the wait.
func TestSlotInterrupted(t *testing.T) {
	dir := slotsDir(t)
	fd, err := TakeSlot(dir, Slots{Max: 1}, noSignals)
	if err != nil {
		t.Fatal(err)
	}
	defer closeFD(fd)
	stop := make(chan os.Signal, 1)
	_, err = TakeSlot(dir, Slots{Max: 1, Waiting: func(int) { stop <- unix.SIGINT }}, func() <-chan os.Signal { return stop })
	if got := new(Interrupted); !errors.As(err, &got) || got.Signal != unix.SIGINT {
		t.Errorf("TakeSlot = %v, want to be interrupted", err)
	}
}

// slotsDir is a directory for slots. A thread that still waits opens the file of the slots once
// more when it gets its turn, also while the directory is being removed.
func slotsDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "slots-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for deadline := time.Now().Add(10 * time.Second); os.RemoveAll(dir) != nil && time.Now().Before(deadline); {
			runtime.Gosched()
		}
	})
	return dir
}
