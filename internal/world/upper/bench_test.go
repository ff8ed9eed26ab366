package upper

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"substrate/fsdiff"
)

// BenchmarkWalk10k checks the budget of 60 ms for 10,000 changes: 100 directories with 40 created,
// 30 modified and 30 deleted files each, over a lower with a third as many unchanged files. It
// needs root to make whiteouts.
func BenchmarkWalk10k(b *testing.B) { benchmarkWalk(b, 100, 30) }

// BenchmarkWalk10kOneDir has all changes in one directory.
func BenchmarkWalk10kOneDir(b *testing.B) { benchmarkWalk(b, 1, 3000) }

// BenchmarkWalk10kBigLower has four times as many unchanged files. It must not cost more.
func BenchmarkWalk10kBigLower(b *testing.B) { benchmarkWalk(b, 100, 300) }

func benchmarkWalk(b *testing.B, dirs, unchanged int) {
	if os.Geteuid() != 0 {
		b.Skip("needs root")
	}
	h := newHandMade(b)
	fillLayers(h, dirs, 10000/dirs, unchanged)
	start := cpuTime(b)
	b.ResetTimer()
	for range b.N {
		builder := fsdiff.New("/w", "overlay", 0)
		if _, _, err := Walk([]Upper{{Dir: h.upper, Lower: h.lower, Path: "/w", Prefix: UserPrefix}}, builder); err != nil {
			b.Fatal(err)
		}
		if d := builder.Finish(); d.Counts.Total() < 9990 {
			b.Fatalf("%s", d.Summary)
		}
	}
	b.ReportMetric(float64(cpuTime(b)-start)/1e6/float64(b.N), "cpu-ms/op")
}

// cpuTime returns the processor time of this process in nanoseconds. Unlike the clock, it does not
// depend on how busy the machine is.
func cpuTime(b *testing.B) int64 {
	b.Helper()
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return r.Utime.Nano() + r.Stime.Nano()
}

// fillLayers makes directories with so many changed and unchanged files each.
func fillLayers(h *handMade, dirs, files, unchanged int) {
	for i := range dirs {
		upper, lower := fmt.Sprintf("%s/dir%03d", h.upper, i), fmt.Sprintf("%s/dir%03d", h.lower, i)
		h.dir(upper)
		h.dir(lower)
		for k := range files {
			name := fmt.Sprintf("/file-%05d", k)
			switch {
			case k%10 < 4:
				h.file(upper+name, "new")
			case k%10 < 7:
				h.file(lower+name, "old")
				h.file(upper+name, "other")
			default:
				h.file(lower+name, "old")
				h.check(unix.Mknod(upper+name, unix.S_IFCHR, 0))
			}
		}
		for k := range unchanged {
			h.file(fmt.Sprintf("%s/same-%05d", lower, k), "same")
		}
	}
}
