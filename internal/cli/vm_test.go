package cli

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"substrate/internal/config"
	"substrate/internal/replay"
	"substrate/internal/testenv"
	"substrate/trace"
)

// CGR2: an OOM kill is in the report, in its JSON and in the span.
func TestOOMKills(t *testing.T) {
	testenv.NeedRoot(t)
	if !testenv.InVM() {
		testenv.NeedVM(t, "the memory controller of cgroup v2")
	}
	dir := testenv.TempDir(t)
	env := []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH")}
	const hog = "dd if=/dev/zero of=/dev/null bs=150M count=1; exit 5"
	a := testApp(t)
	a.env, a.cfg = env, config.Load(env)
	if err := a.worldRun([]string{"--memory", "64M", "-c", hog}); err != nil || a.status != 5 {
		t.Fatalf("worldRun = %v, status %d\n%s", err, a.status, written(t, a.stderr))
	}
	if got := written(t, a.stderr); !strings.Contains(got, "Exit code: 5\nOOM kills: 1\n") {
		t.Errorf("the report is %q", got)
	}
	a = testApp(t)
	a.env, a.cfg = env, config.Load(env)
	if err := a.worldRun([]string{"--memory", "64M", "--json", "-c", hog}); err != nil {
		t.Fatal(err)
	}
	var r replay.Report
	if err := json.Unmarshal([]byte(written(t, a.stdout)), &r); err != nil {
		t.Fatal(err)
	}
	if r.Usage.OOMKills != 1 || r.Usage.MemoryPeakBytes <= 0 || r.Usage.MemoryPeakBytes > 64<<20 {
		t.Errorf("usage is %+v", r.Usage)
	}
	span, err := replay.Target(&trace.Reader{Path: config.Load(env).Trace}, "last")
	if err != nil {
		t.Fatal(err)
	}
	if span.Completion == nil || span.OOMKills != 1 || span.MemoryPeakBytes <= 0 {
		t.Errorf("the span's completion is %+v", span.Completion)
	}
}
