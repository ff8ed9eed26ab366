package world

import (
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"substrate/internal/world/boot"
)

// defaultGrace is the time between SIGTERM and SIGKILL after a timeout.
const defaultGrace = 2 * time.Second

// setupPatience is what the set-up of a world may take in addition to the timeout of the command.
const setupPatience = 30 * time.Second

// clock bounds the time of a command, and of the servers of its files.
type clock struct {
	mu       sync.Mutex // guards the rest
	timer    *time.Timer
	timedOut bool
	servers  *time.Timer // nil without servers
	late     bool        // the servers did not answer in time
}

// arm begins to watch the set-up and the command; a timeout of 0 is none. send sends signals to the
// world.
func (c *clock) arm(timeout, grace time.Duration, send func(syscall.Signal) error) {
	if timeout <= 0 {
		return
	}
	if grace <= 0 {
		grace = defaultGrace
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timer = time.AfterFunc(timeout+setupPatience, func() {
		c.mu.Lock()
		c.timedOut = true
		c.mu.Unlock()
		_ = send(boot.SignalTermAll)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.timer = time.AfterFunc(grace, func() { _ = send(unix.SIGKILL) })
	})
}

// begin gives the command its whole timeout: the world is set up.
func (c *clock) begin(timeout time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.servers != nil {
		c.servers.Stop()
	}
	if c.timer != nil && !c.timedOut {
		c.timer.Reset(timeout)
	}
}

// stop ends all waits and reports whether the command ran out of time.
func (c *clock) stop() (timedOut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range []*time.Timer{c.timer, c.servers} {
		if t != nil {
			t.Stop()
		}
	}
	return c.timedOut
}

// boundServers begins to watch the servers, unless it does so already.
func (c *clock) boundServers(send func(syscall.Signal) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.servers == nil {
		c.servers = time.AfterFunc(servePatience, func() {
			c.mu.Lock()
			c.late = true
			c.mu.Unlock()
			_ = send(unix.SIGKILL)
		})
	}
}

// passed reports which time has passed.
func (c *clock) passed() (timedOut, serversLate bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.timedOut, c.late
}
