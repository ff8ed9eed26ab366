package doctor

import (
	"os"
	"strings"
	"testing"

	"substrate/internal/testenv"
)

// DOC1: the doctor reports whether AppArmor is on; worlds work with and without it.
func TestAppArmor(t *testing.T) {
	if !testenv.InVM() {
		testenv.NeedVM(t, "it is started with apparmor=1 and apparmor=0")
	}
	want := "disabled"
	if strings.Contains(readLine("/proc/cmdline"), "apparmor=1") {
		want = "enabled"
	}
	r := Run(here(t))
	fits(t, r)
	if r.AppArmor != want || !r.OverlayMountOK {
		t.Errorf("apparmor is %q, want %q\n%s", r.AppArmor, want, r.Text())
	}
}

// CGR1, DOC1: on a machine with cgroup v2 alone, a world of root has all controllers, and the
// kernel log can be read.
func TestPlainMachine(t *testing.T) {
	if !testenv.InVM() {
		testenv.NeedVM(t, "a machine with cgroup v2 alone")
	}
	r := Run(here(t))
	fits(t, r)
	if !r.CgroupV2 || r.Cgroup.Mount != "/sys/fs/cgroup" || r.Container != "" {
		t.Errorf("cgroup is %+v, container %q", r.Cgroup, r.Container)
	}
	if os.Getuid() != 0 {
		return
	}
	for _, name := range []string{"limits", "nf_tables", "nflog", "overlay", "strategy", "network"} {
		if got := row(t, r, name); got.Status != Pass {
			t.Errorf("row %+v, want PASS", got)
		}
	}
}

// DOC1: if a setting forbids users to make user namespaces, the doctor names it to users and to
// root.
func TestUsernsSettings(t *testing.T) {
	testenv.NeedRoot(t)
	if !testenv.InVM() {
		testenv.NeedVM(t, "settings of the whole machine are turned")
	}
	for _, s := range []struct{ path, value, fix string }{
		{"/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"},
		{"/proc/sys/user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=15000"},
	} {
		old, err := os.ReadFile(s.path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(s.path, []byte(s.value), 0); err != nil {
			t.Fatal(err)
		}
		if got := askUserns(Host{Root: true}).rows[0]; got.Status != Warn || got.Fix != s.fix {
			t.Errorf("%s=%s: root gets %+v, want the fix %q", s.path, s.value, got, s.fix)
		}
		if err := os.WriteFile(s.path, old, 0); err != nil {
			t.Fatal(err)
		}
	}
}
