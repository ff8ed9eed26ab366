// Package bench measures the programs from outside, next to programs that do the same or less, and
// writes the table of docs/performance.md.
//
// All variants of a group run in turns in one process (A B C A B C …), so that other work of the
// machine slows all of them alike; the ratio of the medians counts. The benchmarks of single pieces
// stay beside the pieces. Run it with `make bench`.
package bench
