package tree

import "sync"

// Portion is the number of names in one task. A directory with more names becomes several tasks.
const Portion = 512

// Queue holds tasks that several workers share, such as the directories of a tree. A task may add
// more tasks. The newest task is taken first, which keeps few directories open.
type Queue[T any] struct {
	mu    sync.Mutex
	idle  sync.Cond // a task was added, or no more will come; its lock is mu
	stack []T
	busy  int // tasks in progress, which may add more
	spare int // workers that may still be started
	from  int
	do    func(T)
	all   sync.WaitGroup
}

// NewQueue returns a queue that runs do for each task. It has at most workers workers; it starts
// another one when from tasks are waiting.
func NewQueue[T any](workers, from int, do func(T)) *Queue[T] {
	q := &Queue[T]{spare: workers - 1, from: from, do: do}
	q.idle.L = &q.mu
	return q
}

// Add adds a task.
func (q *Queue[T]) Add(t T) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stack = append(q.stack, t)
	if q.spare > 0 && len(q.stack) >= q.from {
		q.spare--
		q.all.Go(func() { work(q) })
	}
	q.idle.Signal()
}

// Run adds the tasks in first and returns when none is left.
func (q *Queue[T]) Run(first ...T) {
	for _, t := range first {
		q.Add(t)
	}
	work(q)
	q.all.Wait()
}

// work is the loop of one worker.
func work[T any](q *Queue[T]) {
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
		var none T
		t := q.stack[len(q.stack)-1]
		q.stack[len(q.stack)-1] = none
		q.stack = q.stack[:len(q.stack)-1]
		q.busy++
		q.mu.Unlock()
		q.do(t)
		q.mu.Lock()
		q.busy--
	}
}
