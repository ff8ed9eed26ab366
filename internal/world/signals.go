package world

import (
	"os"
	"os/signal"
	"sync"
	"syscall"

	"substrate/internal/procstate"
	"substrate/internal/world/boot"
)

// Signals are the signals that would end this process and are meant for the command of its world
// (RPL10). Their handler passes them on itself, see package procstate: os/signal would start two
// threads, which costs a tenth of a short world. Only code that has to wait for a signal uses it.
type Signals struct {
	unhold func()         // ends the handlers of our own
	queue  chan os.Signal // nil until somebody has to wait for one
}

// CatchSignals begins to catch them, until the caller calls release, for the one world that gets
// them in its [Spec], or for [RunHost]. A signal that the caller of this program ignores stays
// ignored.
func CatchSignals() (s *Signals, release func()) {
	for _, s := range Forwarded {
		if n, ok := s.(syscall.Signal); ok && procstate.IsIgnored(n) {
			signal.Ignore(n) // the runtime has put a handler of its own there, which would end us
		}
	}
	s = &Signals{unhold: procstate.Hold(caught()...)}
	return s, func() {
		if s.queue != nil {
			signal.Stop(s.queue)
		} else {
			s.unhold()
		}
	}
}

func caught() (sigs []syscall.Signal) {
	for _, s := range Forwarded {
		if n, ok := s.(syscall.Signal); ok && !signal.Ignored(s) && !procstate.IsIgnored(n) {
			sigs = append(sigs, n)
		}
	}
	return sigs
}

// wait returns a channel with the signals that have come and that come from now on; nil if s is.
func (s *Signals) wait() <-chan os.Signal {
	if s == nil {
		return nil
	}
	if s.queue == nil {
		s.queue = make(chan os.Signal, 8)
		for _, n := range caught() {
			signal.Notify(s.queue, n) // which leaves our handlers where they are
		}
		s.unhold()
		if held := procstate.Held(); held != 0 {
			s.queue <- held
		}
	}
	return s.queue
}

// held is a signal that came before the command was started, 0 for none.
func (s *Signals) held() syscall.Signal {
	switch {
	case s == nil:
		return 0
	case s.queue == nil:
		return procstate.Held()
	}
	select {
	case sig := <-s.queue:
		return sig.(syscall.Signal)
	default:
		return 0
	}
}

// passTo sends the signals that have come and that come to the process; 0 drops them.
func (s *Signals) passTo(pid int) {
	if s != nil && s.queue == nil {
		procstate.PassSignalsTo(pid)
	}
}

// follow passes on what comes over the channel, if there is one, until the caller calls end.
func (s *Signals) follow(w *World) (end func()) {
	if s == nil || s.queue == nil {
		return func() {}
	}
	done := make(chan struct{})
	go func() {
		for {
			select {
			case sig := <-s.queue:
				_ = w.Signal(sig.(syscall.Signal)) // a world that has just ended needs none
			case <-done:
				return
			}
		}
	}()
	return func() { close(done) }
}

// target is where a world's signals go.
type target struct {
	mu    sync.Mutex     // guards the rest against Signal from other goroutines
	proc  *boot.Process  // the init process; nil before its start and after the end of the command
	ready *boot.Process  // proc once it has blocked all signals, and so keeps them for the command
	early syscall.Signal // came before ready; 0 for none
}

// send sends sig to the command, or keeps it until there is one. SIGKILL ends the set-up as well.
func (t *target) send(sig syscall.Signal) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.ready != nil:
		return t.ready.Signal(sig)
	case t.proc != nil && sig == syscall.SIGKILL:
		return t.proc.Signal(sig)
	}
	t.early = sig
	return nil
}

// interrupted is the error of a Run that a signal came before; nil if none did.
func (t *target) interrupted(sigs *Signals) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	sig := t.early
	if sig == 0 {
		sig = sigs.held()
	}
	if sig == 0 {
		return nil
	}
	return &Interrupted{Signal: sig, What: "set up the world"}
}

// start makes p the init process.
func (t *target) start(p *boot.Process) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.proc = p
}

// listen sends signals to the init process from now on: it is about to start the command.
func (t *target) listen(sigs *Signals) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.proc == nil {
		return
	}
	t.ready = t.proc
	if t.early != 0 {
		_ = t.proc.Signal(t.early)
	}
	sigs.passTo(t.proc.PID())
}

// end returns the init process, which gets no more signals; nil if there is none.
func (t *target) end(sigs *Signals) *boot.Process {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.proc
	t.proc, t.ready = nil, nil
	if t.early == boot.SignalTermAll {
		t.early = 0 // the set-up took too long; the next one has its own time
	}
	if p != nil {
		sigs.passTo(0) // the number will be another's
	}
	return p
}
