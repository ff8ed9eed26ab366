package world

import (
	"os"
	"os/signal"
	"syscall"

	"substrate/internal/procstate"
)

// Signals are those that would end this process and are meant for the command of its world (RPL10). They are passed on from
// within their handler, see package procstate: os/signal would start two threads, which is as much as a tenth of a short world.
// Only who has to wait for one gets it from there.
type Signals struct {
	release func()
	queue   chan os.Signal // nil until somebody has to wait for one
}

// CatchSignals begins to catch them, until Release, for the one world that gets it in its [Spec], or for [RunHost]. What the caller of this
// program ignores stays ignored.
func CatchSignals() *Signals {
	for _, s := range Forwarded {
		if n, ok := s.(syscall.Signal); ok && procstate.IsIgnored(n) {
			signal.Ignore(n) // the runtime has put a handler of its own there, which would end us
		}
	}
	return &Signals{release: procstate.Hold(caught()...)}
}

func caught() (sigs []syscall.Signal) {
	for _, s := range Forwarded {
		if n, ok := s.(syscall.Signal); ok && !signal.Ignored(s) && !procstate.IsIgnored(n) {
			sigs = append(sigs, n)
		}
	}
	return sigs
}

// Release ends what CatchSignals began.
func (s *Signals) Release() {
	if s.queue != nil {
		signal.Stop(s.queue)
		return
	}
	s.release()
}

// wait returns a channel with the signals that have come and those that come from now on, nil if nobody catches any.
func (s *Signals) wait() <-chan os.Signal {
	if s == nil {
		return nil
	}
	if s.queue == nil {
		s.queue = make(chan os.Signal, 8)
		for _, n := range caught() {
			signal.Notify(s.queue, n) // which leaves our handlers where they are
		}
		s.release()
		if held := procstate.Held(); held != 0 {
			s.queue <- held
		}
	}
	return s.queue
}

// held is a signal that came before the command was there, 0 for none.
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

// passTo sends to the process what has come and what comes; with 0 it is dropped.
func (s *Signals) passTo(pid int) {
	if s != nil && s.queue == nil {
		procstate.PassSignalsTo(pid)
	}
}

// follow passes on what comes over the channel, if there is one, until the function that it returns is called.
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
