package tree

import (
	"sync"
)

// Queue is work that several goroutines share and that adds to itself, such as the directories of a tree. What was
// added last is done first, which keeps few directories open. The zero queue is ready.
type Queue[T any] struct {
	mu    sync.Mutex
	idle  sync.Cond // work was added, or none will be; its lock is mu
	stack []T
	busy  int // work that is being done, which may add other
}

// Add puts work into the queue.
func (q *Queue[T]) Add(t T) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stack = append(q.stack, t)
	q.idle.L = &q.mu
	q.idle.Signal()
}

// Run does what is in the queue, and what that adds to it, until nothing is left.
func (q *Queue[T]) Run(workers int, do func(T)) {
	q.idle.L = &q.mu
	var all sync.WaitGroup
	for range workers {
		all.Go(func() { q.work(do) })
	}
	all.Wait()
}

func (q *Queue[T]) work(do func(T)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		for len(q.stack) == 0 && q.busy > 0 {
			q.idle.Wait()
		}
		if len(q.stack) == 0 {
			q.idle.Broadcast()
			return
		}
		t := q.stack[len(q.stack)-1]
		var none T
		q.stack[len(q.stack)-1] = none
		q.stack = q.stack[:len(q.stack)-1]
		q.busy++
		q.mu.Unlock()
		do(t)
		q.mu.Lock()
		q.busy--
	}
}

// Portion is the number of names in a task; directories with more are shared out.
const Portion = 512
