package snapshot

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"substrate/fsdiff"
)

// BenchmarkCopyDiff100k checks the price in DIF7: to copy 100,000 files and list ten changes, in
// turns with `cp -a` and `diff -rq`. The metric "ratio" is our time divided by theirs.
// SUBSTRATE_BENCH_FILES sets another number of files.
func BenchmarkCopyDiff100k(b *testing.B) {
	files, err := strconv.Atoi(os.Getenv("SUBSTRATE_BENCH_FILES"))
	if err != nil {
		files = 100000
	}
	dir := b.TempDir()
	tree := filepath.Join(dir, "tree")
	fillTree(b, tree, files)
	var ours, copied, compared, theirs time.Duration
	for i := 0; b.Loop(); i++ {
		began := time.Now()
		cp := filepath.Join(dir, fmt.Sprintf("cp%d", i))
		runProgram(b, 0, "cp", "-a", tree, cp)
		change(b, cp)
		runProgram(b, 1, "diff", "-rq", "--no-dereference", tree, cp)
		theirs += time.Since(began)

		began = time.Now()
		scratch := filepath.Join(dir, fmt.Sprintf("scratch%d", i))
		if err := os.Mkdir(scratch, 0o700); err != nil {
			b.Fatal(err)
		}
		s, err := Take(context.Background(), tree, scratch+"/copy", Options{})
		if err != nil {
			b.Fatal(err)
		}
		copied += time.Since(began)
		change(b, s.Dst)
		half := time.Now()
		builder := fsdiff.New(tree, "copy-diff", 0)
		if _, _, _, err := s.Compare(builder); err != nil {
			b.Fatal(err)
		}
		compared += time.Since(half)
		ours += time.Since(began)
		if d := builder.Finish(); d.Counts.Total() != 10 {
			b.Fatalf("%s, want 10 changes", d.Summary)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		for _, path := range []string{cp, scratch} {
			if err := os.RemoveAll(path); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(ours)/float64(theirs), "ratio")
	b.ReportMetric(float64(copied.Milliseconds())/float64(b.N), "copy-ms")
	b.ReportMetric(float64(compared.Milliseconds())/float64(b.N), "compare-ms")
}

// fillTree makes files of about 2 KB, a hundred in each directory.
func fillTree(b *testing.B, tree string, files int) {
	b.Helper()
	text := make([]byte, 4096)
	for i := range text {
		text[i] = byte(i * 7)
	}
	for i := range files {
		path := filepath.Join(tree, fmt.Sprintf("d%02d/e%03d/file-%05d", i/100%10, i/100, i))
		if i%100 == 0 {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				b.Fatal(err)
			}
		}
		if err := os.WriteFile(path, text[:i*37%len(text)], 0o644); err != nil {
			b.Fatal(err)
		}
	}
}

// change creates ten files.
func change(b *testing.B, tree string) {
	b.Helper()
	for i := range 10 {
		if err := os.WriteFile(filepath.Join(tree, fmt.Sprintf("new%d", i)), []byte("x"), 0o644); err != nil {
			b.Fatal(err)
		}
	}
}

func runProgram(b *testing.B, exit int, name string, args ...string) {
	b.Helper()
	cmd := exec.Command(name, args...)
	_ = cmd.Run()
	if got := cmd.ProcessState.ExitCode(); got != exit {
		b.Fatalf("%s: exit %d, want %d", name, got, exit)
	}
}
