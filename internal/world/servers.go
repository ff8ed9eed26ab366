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

// servePatience is how long the mounts of a world may take that processes serve. Each takes some
// milliseconds. Tests shorten it.
var servePatience = 10 * time.Second

// serve starts the process behind a mount whose device the init process has sent.
func (r *run) serve(fds []int) error {
	if len(fds) == 0 {
		return errors.New("serve the files: no device came with the message")
	}
	device := os.NewFile(uintptr(fds[0]), "/dev/fuse")
	for _, fd := range fds[1:] {
		_ = unix.Close(fd)
	}
	defer device.Close()
	r.clock.boundServers(r.w.Signal)
	files, ok := r.w.attempt.view.(view.Served)
	if !ok {
		return errors.New("serve the files: this view has no server")
	}
	if err := files.Serve(device); err != nil {
		return &setupError{ofView: true, err: &probe.Error{What: "serve the files", Err: err}}
	}
	crashpoint(state.KindServers, r.w.objects.upperDir)
	return nil
}

// errServersLate is the failure of a world whose servers did not answer.
func errServersLate() error {
	return &setupError{ofView: true, err: &probe.Error{
		What: "serve the files", Err: fmt.Errorf("no answer in %s", servePatience),
		Remedy: "a file system that does not answer may block fuse-overlayfs; look for it with: mount | grep -E 'nfs|cifs|fuse'",
	}}
}

// withServerError adds to the error of a mount what the process said that should have served it.
func withServerError(files view.View, err error) error {
	served, ok := files.(view.Served)
	if !ok {
		return err
	}
	if said := served.Failure(); said != nil {
		return fmt.Errorf("%w (%w)", err, said)
	}
	return err
}
