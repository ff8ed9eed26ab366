// Package bench measures the programs from outside, next to programs that do the same
// or less, and writes the table of docs/performance.md.
//
// All variants of a group run alternately in one process (A B C A B C …), so that
// whatever the machine does meanwhile meets all of them; what counts is the ratio of
// the medians. The benchmarks of single pieces stay beside the pieces. Run it with
// `make bench`.
package bench
