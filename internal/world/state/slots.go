package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Slots bounds how many worlds of one user run at once (WLD10).
type Slots struct {
	Max     int           // 0 for no bound
	Waiting func(max int) // called once if [TakeSlot] has to wait; may be nil
}

// Interrupted is the error of something that a signal ended before the command was started.
type Interrupted struct {
	Signal os.Signal
	What   string // what was being done
}

// Error says what was being done.
func (e *Interrupted) Error() string { return e.What + ": " + e.Signal.String() }

// slotsFile lies in the run-time root. Nothing is ever written to it: slot n is the lock on its
// byte n. The kernel releases the lock when the last process of the world that holds it is dead,
// whatever killed it.
const slotsFile = "slots"

// waitByte is locked by the first process in the queue.
const waitByte = 1 << 20

// TakeSlot waits until fewer than s.Max worlds run and returns the descriptor of a lock that stands
// for one more; -1 without a bound. If it has to wait it calls signals; a signal from that channel
// ends the wait with [Interrupted]. run is the run-time root.
func TakeSlot(run string, s Slots, signals func() <-chan os.Signal) (int, error) {
	if s.Max <= 0 {
		return -1, nil
	}
	path := filepath.Join(run, slotsFile)
	fd, err := trySlots(path, s.Max)
	if !errors.Is(err, errTaken) {
		return fd, err
	}
	stop := signals()
	if s.Waiting != nil {
		s.Waiting(s.Max)
	}
	select {
	case got := <-startWaiting(path, s.Max):
		return got.fd, got.err
	case sig := <-stop:
		// The threads that still wait end with this process.
		return -1, &Interrupted{Signal: sig, What: "wait for another world to end"}
	}
}

// slot is a lock, or the reason why there is none.
type slot struct {
	fd  int
	err error
}

// startWaiting waits for a slot in the background. The kernel cannot wait for any of several locks,
// so the process at the head of the queue waits for all slots at once, with a thread for each. The
// other processes wait for the lock of the head.
func startWaiting(path string, slots int) <-chan slot {
	answer := make(chan slot, 1)
	go func() {
		head, err := openSlots(path)
		if err == nil {
			err = lockByte(head, waitByte, true)
		}
		if err != nil {
			answer <- slot{-1, err}
			return
		}
		got := waitForAny(path, slots)
		_ = unix.Close(head)
		answer <- got
	}()
	return answer
}

// waitForAny waits for all slots and keeps the first one that is free. It releases the others as
// soon as it has them.
func waitForAny(path string, slots int) slot {
	first := make(chan slot) // unbuffered: only one is taken
	done := make(chan struct{})
	defer close(done)
	for n := range slots {
		go func() {
			fd, err := openSlots(path)
			if err == nil {
				if err = lockByte(fd, n, true); err != nil {
					_ = unix.Close(fd)
				}
			}
			if err != nil {
				fd = -1
			}
			select {
			case first <- slot{fd, err}:
			case <-done:
				if fd >= 0 {
					_ = unix.Close(fd)
				}
			}
		}()
	}
	return <-first
}

// trySlots takes the first free slot; errTaken if all are taken.
func trySlots(path string, slots int) (int, error) {
	fd, err := openSlots(path)
	if err != nil {
		return -1, err
	}
	for n := range slots {
		err = lockByte(fd, n, false)
		if err == nil {
			return fd, nil
		}
		if !errors.Is(err, errTaken) {
			break
		}
	}
	_ = unix.Close(fd)
	return -1, err
}

func openSlots(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", path, err)
	}
	return fd, nil
}

// lockByte locks one byte for the open file fd and its copies. Without wait the error is errTaken
// if somebody holds it.
//
// Source: fcntl(2), "Open file description locks (non-POSIX)" (Linux 3.15).
func lockByte(fd, n int, wait bool) error {
	cmd := unix.F_OFD_SETLK
	if wait {
		cmd = unix.F_OFD_SETLKW
	}
	lock := unix.Flock_t{Type: unix.F_WRLCK, Start: int64(n), Len: 1}
	for {
		err := unix.FcntlFlock(uintptr(fd), cmd, &lock)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EACCES):
			return errTaken
		default:
			return fmt.Errorf("lock a place among the running worlds: %w", err)
		}
	}
}
