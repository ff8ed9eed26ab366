package trace

import (
	"cmp"
	"slices"
)

// Node is a span and its place in the tree of processes.
type Node struct {
	Span   *Span
	Depth  int  // 0 for a root
	Orphan bool // a root whose parent is not among the spans
	Cycle  bool // a root that is its own ancestor, which no real command can be
}

// Tree returns spans in the order of a tree: a parent before its children, siblings in the order in
// which they began. A span without a parent among them is a root, and so is the first span of a
// cycle.
func Tree(spans []*Span) []Node {
	t := newTree(spans)
	for i := range t.spans {
		if t.parents[i] < 0 {
			t.walk(i, Node{Orphan: t.spans[i].Last().ParentSpan != ""})
		}
	}
	for i := range t.spans { // those that no root leads to are below a cycle
		if !t.placed[i] {
			t.walk(t.cycleAbove(i), Node{Cycle: true})
		}
	}
	return t.nodes
}

// tree holds the spans in the order in which they began, and refers to them by their index.
type tree struct {
	spans    []*Span
	parents  []int // -1 for none
	children [][]int
	placed   []bool
	nodes    []Node
}

func newTree(spans []*Span) *tree {
	n := len(spans)
	t := &tree{spans: slices.Clone(spans), parents: make([]int, n), children: make([][]int, n), placed: make([]bool, n)}
	slices.SortStableFunc(t.spans, func(a, b *Span) int {
		return cmp.Or(a.Began().Compare(b.Began()), cmp.Compare(a.ID(), b.ID()))
	})
	byID := make(map[string]int, n)
	for i, s := range slices.Backward(t.spans) {
		byID[s.ID()] = i
	}
	for i, s := range t.spans {
		parent, known := byID[s.Last().ParentSpan]
		if !known || s.Last().ParentSpan == "" {
			t.parents[i] = -1
			continue
		}
		t.parents[i] = parent
		t.children[parent] = append(t.children[parent], i)
	}
	return t
}

// walk places a root and everything below it. It is not recursive, because a hostile trace may be
// deep.
func (t *tree) walk(root int, node Node) {
	type step struct{ at, depth int }
	stack := []step{{root, 0}}
	for len(stack) > 0 {
		s := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if t.placed[s.at] {
			continue // back at the beginning of a cycle
		}
		t.placed[s.at] = true
		node.Span, node.Depth = t.spans[s.at], s.depth
		t.nodes = append(t.nodes, node)
		node = Node{}
		for _, child := range slices.Backward(t.children[s.at]) {
			stack = append(stack, step{child, s.depth + 1})
		}
	}
}

// cycleAbove returns the first span of the cycle among the ancestors of i.
func (t *tree) cycleAbove(i int) int {
	seen := make(map[int]bool)
	for !seen[i] {
		seen[i] = true
		i = t.parents[i]
	}
	first := i
	for at := t.parents[i]; at != i; at = t.parents[at] {
		first = min(first, at)
	}
	return first
}
