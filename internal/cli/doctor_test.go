package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"substrate/internal/config"
	"substrate/internal/testenv"
)

// DOC3: without overlay and fuse there is a warning, and also a failure if the settings ask for
// worlds; with one of them there is neither.
func TestDoctorStatus(t *testing.T) {
	for name, host := range map[string]testenv.Host{
		"all":     {},
		"nothing": {User: true, WithoutUserns: true, WithoutMounts: true, WithoutFuse: true},
	} {
		t.Run(name, func(t *testing.T) {
			testenv.In(t, host, func(t *testing.T) {
				dir := testenv.TempDir(t)
				for want, env := range [][]string{nil, {"SUBSTRATE_REPLAY_USE_WORLD=1"}} {
					if name == "all" {
						want = 0
					}
					a := testApp(t)
					a.env = append(env, "HOME="+dir, "XDG_RUNTIME_DIR="+dir, "PATH="+os.Getenv("PATH"))
					a.cfg = config.Load(a.env)
					if got := a.runTree([]string{"world", "doctor"}); got != want {
						t.Errorf("with %q the status is %d, want %d\n%s", env, got, want, written(t, a.stdout))
					}
					const warning = "substrate: warning: neither overlay nor fuse works here; "
					if got, want := strings.HasPrefix(written(t, a.stderr), warning), name != "all"; got != want {
						t.Errorf("standard error is %q", written(t, a.stderr))
					}
					if !strings.HasPrefix(written(t, a.stdout), "PASS  kernel ") {
						t.Errorf("standard output is %q", written(t, a.stdout))
					}
				}
				if _, err := os.Stat(filepath.Join(dir, ".substrate")); !os.IsNotExist(err) {
					t.Errorf("the doctor deployed or recorded something: %v", err)
				}
			})
		})
	}
}
