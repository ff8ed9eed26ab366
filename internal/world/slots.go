package world

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
	Waiting func(max int) // called once if New has to wait; may be nil
}

// Interrupted is the error of a New that was ended by a signal while it waited or copied, and of a Run before which one came.
type Interrupted struct {
	Signal os.Signal
	What   string // what was being done
}

// Error says what was being done.
func (e *Interrupted) Error() string { return e.What + ": " + e.Signal.String() }

// slotsFile lies in the run-time root. Nothing is ever written to it: slot n is the lock on its byte n, which the kernel
// lets go when the last process of the world that holds it is dead, however that died.
const slotsFile = "slots"

// waitByte is the lock that only the first of those who wait holds.
const waitByte = 1 << 20

// takeSlot waits until fewer than Max worlds run, and takes the place of one; -1 without a bound. A signal ends the wait with [Interrupted].
func takeSlot(run string, s Slots, sigs *Signals) (int, error) {
	if s.Max <= 0 {
		return -1, nil
	}
	path := filepath.Join(run, slotsFile)
	fd, err := trySlots(path, s.Max)
	if !errors.Is(err, errTaken) {
		return fd, err
	}
	stop := sigs.wait()
	if s.Waiting != nil {
		s.Waiting(s.Max)
	}
	select {
	case got := <-startWaiting(path, s.Max):
		return got.fd, got.err
	case sig := <-stop:
		// What waits in other threads ends with this process.
		return -1, &Interrupted{Signal: sig, What: "wait for another world to end"}
	}
}

// slot is a lock that was got, or why not.
type slot struct {
	fd  int
	err error
}

// startWaiting waits for a slot in the background. One process at a time stands at the head of the queue and waits for all slots at
// once, with a thread for each, because the kernel has no wait for any of several locks; the rest wait for its place.
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

// waitForAny waits for all slots and keeps the first that comes. The others are let go in the moment
// that they come.
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
				closeFD(&fd)
			}
		}()
	}
	return <-first
}

// trySlots takes the first free slot; errTaken if there is none.
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

// lockByte locks one byte for the open file fd and its copies, errTaken if it is held and we do not want to wait.
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
