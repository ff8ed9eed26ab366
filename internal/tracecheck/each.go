package tracecheck

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
)

// chunkSize is about how many bytes of lines are checked at once.
const chunkSize = 256 << 10

// Each reads a trace and calls found for each line that does not fit the schema, in the order of
// the lines. It skips blank lines. It stops at the first error of found or of reading r, and
// returns it. lines is the number of lines. Each uses several processors, since a line takes longer
// to check than to read.
func Each(r io.Reader, found func(Problem) error) (lines int, err error) {
	all, err := schemas()
	if err != nil {
		return 0, err
	}
	in := bufio.NewReaderSize(r, chunkSize)
	results := make(chan (chan []Problem), runtime.GOMAXPROCS(0)+1)
	stop, ended := make(chan bool), make(chan error, 1)
	go func() {
		defer close(results)
		ended <- readChunks(in, &lines, func(text []byte, first int) bool {
			result := make(chan []Problem, 1)
			select {
			case results <- result:
			case <-stop:
				return false
			}
			go func() { result <- checkLines(all, text, first) }()
			return true
		})
	}()
	for result := range results {
		for _, p := range <-result {
			if err == nil {
				err = found(p)
			}
		}
		if err != nil {
			close(stop)
			for range results { //nolint:revive // wait for the checks that run
			}
			break
		}
	}
	return lines, errors.Join(err, <-ended)
}

// readChunks passes whole lines to use, and counts them, until use returns false.
func readChunks(in *bufio.Reader, lines *int, use func(text []byte, first int) bool) error {
	for {
		chunk := make([]byte, 0, chunkSize+chunkSize/8)
		first := *lines + 1
		var err error
		for len(chunk) < chunkSize && err == nil {
			var line []byte
			if line, err = in.ReadBytes('\n'); len(line) > 0 {
				chunk = append(chunk, line...)
				*lines++
			}
		}
		if len(chunk) > 0 && !use(chunk, first) {
			return nil
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read trace: %w", err)
		}
	}
}

// checkLines checks lines. number is that of the first.
func checkLines(all *loaded, text []byte, number int) (problems []Problem) {
	for line := range bytes.Lines(text) {
		if line = bytes.TrimSpace(line); len(line) > 0 {
			problems = append(problems, checkLine(all, line, number)...)
		}
		number++
	}
	return problems
}
