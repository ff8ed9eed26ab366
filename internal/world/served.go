package world

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"substrate/internal/probe"
	"substrate/internal/world/state"
	"substrate/internal/world/view"
)

// servePatience is how long the mounts of a world may take that are served by processes. Each takes some milliseconds. Tests
// have less of it.
var servePatience = 10 * time.Second

// serve has a mount served whose device the first process sent.
func (r *run) serve(fds []int) error {
	if len(fds) == 0 {
		return errors.New("serve the files: no device came with the message")
	}
	device := os.NewFile(uintptr(fds[0]), "/dev/fuse")
	for _, fd := range fds[1:] {
		_ = unix.Close(fd)
	}
	defer device.Close()
	if r.served == nil {
		r.served = time.AfterFunc(servePatience, func() {
			r.mu.Lock()
			r.late = true
			r.mu.Unlock()
			_ = r.w.Signal(unix.SIGKILL)
		})
	}
	files, ok := r.w.view.(view.Served)
	if !ok {
		return errors.New("serve the files: the view has nobody to do it")
	}
	if err := files.Serve(device); err != nil {
		return &setupFailure{ofView: true, err: &probe.Error{What: "serve the files", Err: err}}
	}
	crashpoint(state.KindServers, r.w.upperDir)
	return nil
}

// stands is called when all mounts are there.
func (r *run) stands() {
	if r.served != nil {
		r.served.Stop()
	}
}

// tooLate is the failure of a world whose servers did not answer; nil if they were not the reason. The caller holds r.mu.
func (r *run) tooLate() error {
	if !r.late {
		return nil
	}
	return &setupFailure{ofView: true, err: &probe.Error{
		What: "serve the files", Err: fmt.Errorf("no answer in %s", servePatience),
		Remedy: "a file system of this machine that does not answer may keep fuse-overlayfs waiting: mount | grep -E 'nfs|cifs|fuse'",
	}}
}

// saidBy adds to the error of a mount what the process said that should have served it.
func (w *World) saidBy(err error) error {
	files, ok := w.view.(view.Served)
	if !ok {
		return err
	}
	if said := files.Failure(); said != nil {
		return fmt.Errorf("%w (%w)", err, said)
	}
	return err
}
