package main

import (
	"bytes"
	"strings"
	"testing"

	"substrate/tools/vm/job"
)

// A job may print anything, and a job that the machine never ended has failed.
func TestRead(t *testing.T) {
	jobs := []job.Job{{Name: "a"}, {Name: "b"}, {Name: "c"}}
	text := "noise of the start\n" + job.Begin + "0\nout\nend 0 0\n\n" + job.End + "0 3\nbetween\n" + job.Begin + "1\nhalf"
	begun := 0
	got, over := read(strings.NewReader(text), jobs, func() { begun++ })
	if begun != 2 {
		t.Errorf("%d jobs began, want 2", begun)
	}
	if over {
		t.Error("the machine came to its end")
	}
	want := []outcome{{Output: "out\nend 0 0\n\n", Status: 3}, {Output: "half", Status: -1}, {Status: -1}}
	for i, o := range got {
		if o.Output != want[i].Output || o.Status != want[i].Status || o.job.Name != jobs[i].Name {
			t.Errorf("job %d: output %q, status %d; want %q, %d", i, o.Output, o.Status, want[i].Output, want[i].Status)
		}
	}
	if _, over := read(strings.NewReader(job.Over+"\n"), nil, func() {}); !over {
		t.Error("the end was not seen")
	}
}

// A job that is no test counts by its exit status, and a test binary that dies is a failure.
func TestReport(t *testing.T) {
	for _, test := range []struct {
		o    outcome
		want string
	}{
		{outcome{job: job.Job{Name: "doctor"}, Output: "x\n"}, `"Action":"pass","Package":"vm","Test":"doctor"`},
		{outcome{job: job.Job{Name: "doctor"}, Status: 7}, `"Action":"fail","Package":"vm","Test":"doctor"`},
		{outcome{job: job.Job{Name: "p", Test: true}, Output: "=== RUN   TestA\n", Status: -1}, `"Action":"fail","Package":"p"`},
		{outcome{job: job.Job{Name: "p", Test: true}, Output: "=== RUN   TestA\n--- PASS: TestA (0.00s)\nPASS\n"}, `"Action":"pass","Package":"p"`},
	} {
		var out bytes.Buffer
		if err := test.o.report(&out); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), test.want) {
			t.Errorf("report of %+v:\n%s\nwant %s", test.o, out.String(), test.want)
		}
	}
}

// Each entry of the archive begins at a multiple of four; its header holds the lengths of name and
// data.
func TestArchive(t *testing.T) {
	var a archive
	a.add("x", modeFile, []byte("abcde"), 0, 0)
	a.add("TRAILER!!!", 0, nil, 0, 0)
	text := a.b.String()
	second := strings.LastIndex(text, "070701")
	if second%4 != 0 || len(text)%4 != 0 || !strings.HasPrefix(text, "070701") {
		t.Errorf("the archive is %q", text)
	}
	if size, name := text[54:62], text[94:102]; size != "00000005" || name != "00000002" || text[110:112] != "x\x00" || text[112:117] != "abcde" {
		t.Errorf("size %s, length of the name %s in %q", size, name, text)
	}
}
