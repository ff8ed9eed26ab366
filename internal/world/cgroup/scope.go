package cgroup

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/godbus/dbus/v5"
	"substrate/internal/probe"
)

// scopeTimeout bounds the exchange with systemd, for which a world waits.
const scopeTimeout = 5 * time.Second

// Names of systemd on the bus.
//
// Source: org.freedesktop.systemd1(5), "The Manager Object".
const (
	systemdName    = "org.freedesktop.systemd1"
	systemdPath    = "/org/freedesktop/systemd1"
	systemdManager = "org.freedesktop.systemd1.Manager"
)

// Scope asks the caller's own systemd, at the bus address bus, to move the process pid into a new
// scope unit called substrate-NAME.scope whose cgroup is delegated to the caller, and returns that
// group. It is for users who may not divide their own cgroup, as in a login session: only systemd
// may move a process out of it.
//
// The process must wait meanwhile, so that it never runs outside. The unit vanishes with its last
// process, so a crash leaves nothing. Errors wrap [probe.ErrUnsupported].
//
// Source: systemd "Control Group APIs and Delegation", "Delegation"; systemd.scope(5).
func Scope(bus, name string, pid int) (*Group, error) {
	ctx, cancel := context.WithTimeout(context.Background(), scopeTimeout)
	defer cancel()
	err := startScope(ctx, bus, "substrate-"+name+".scope", pid)
	if err != nil {
		return nil, &probe.Error{What: "ask systemd for a cgroup", Err: err, Remedy: "log in with a systemd user session (loginctl enable-linger), or run below a delegated cgroup"}
	}
	return open(pid, "substrate-"+name+".scope")
}

// startScope makes the unit and waits until systemd reports that it is done.
func startScope(ctx context.Context, bus, unit string, pid int) error {
	if bus == "" {
		return errors.New("no bus of the user: neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR is set")
	}
	conn, err := dbus.Connect(bus, dbus.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("connect to %s: %w", bus, err)
	}
	defer func() { _ = conn.Close() }()
	// Subscribe before the job exists, or its end may be missed.
	if err := conn.AddMatchSignalContext(ctx, dbus.WithMatchInterface(systemdManager), dbus.WithMatchMember("JobRemoved")); err != nil {
		return fmt.Errorf("listen to systemd: %w", err)
	}
	signals := make(chan *dbus.Signal, 16)
	conn.Signal(signals)
	type property struct {
		Name  string
		Value dbus.Variant
	}
	properties := []property{
		{"Description", dbus.MakeVariant("a world of substrate")},
		{"PIDs", dbus.MakeVariant([]uint32{uint32(pid)})},
		{"Delegate", dbus.MakeVariant(true)},
		{"CollectMode", dbus.MakeVariant("inactive-or-failed")},
	}
	type auxiliary struct {
		Name       string
		Properties []property
	}
	manager := conn.Object(systemdName, systemdPath)
	if err := manager.CallWithContext(ctx, systemdManager+".Subscribe", 0).Err; err != nil {
		return fmt.Errorf("listen to systemd: %w", err)
	}
	var job dbus.ObjectPath
	err = manager.CallWithContext(ctx, systemdManager+".StartTransientUnit", 0, unit, "fail", properties, []auxiliary{}).Store(&job)
	if err != nil {
		return fmt.Errorf("start %s: %w", unit, err)
	}
	return waitJob(ctx, signals, job, unit)
}

// waitJob waits for the end of a job, which reports whether the unit was started.
func waitJob(ctx context.Context, signals <-chan *dbus.Signal, job dbus.ObjectPath, unit string) error {
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("start %s: systemd did not answer within %s", unit, scopeTimeout)
		case s, ok := <-signals:
			if !ok {
				return fmt.Errorf("start %s: the bus closed the connection", unit)
			}
			// JobRemoved(u id, o job, s unit, s result)
			if len(s.Body) != 4 || s.Body[1] != job {
				continue
			}
			if s.Body[3] != "done" {
				return fmt.Errorf("start %s: systemd says %q", unit, s.Body[3])
			}
			return nil
		}
	}
}

// open returns the group that the process pid is in now, after it was moved into the unit.
func open(pid int, unit string) (*Group, error) {
	mount, err := Mount()
	if err != nil {
		return nil, err
	}
	path, err := groupOf(strconv.Itoa(pid))
	if err != nil {
		return nil, err
	}
	if filepath.Base(path) != unit {
		return nil, &probe.Error{What: "enter " + unit, Err: fmt.Errorf("the process is in %s", path)}
	}
	return openGroup(filepath.Join(mount, path))
}
