package probe

import "testing"

// DOC1: TryUserns makes a namespace, or names the cause and the remedy.
func TestTryUserns(t *testing.T) {
	c := TryUserns()
	if c.OK != (c.Reason == "") || c.OK == (c.Remedy != "") {
		t.Errorf("TryUserns = %+v: want a reason and a remedy, or neither", c)
	}
}

// DOC1: the values of the settings show which one refuses, including those of Ubuntu and Debian.
func TestUsernsSetting(t *testing.T) {
	const (
		apparmor = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"
		clone    = "/proc/sys/kernel/unprivileged_userns_clone"
		most     = "/proc/sys/user/max_user_namespaces"
	)
	for _, test := range []struct {
		host          map[string]string
		cause, remedy string
	}{
		{nil, "", ""},
		{map[string]string{apparmor: "0", clone: "1", most: "94959"}, "", ""},
		{
			map[string]string{apparmor: "1", most: "94959"},
			"kernel.apparmor_restrict_unprivileged_userns=1: AppArmor gives no rights in a user's namespaces",
			"sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for substrate that allows userns",
		},
		{map[string]string{clone: "0"}, "kernel.unprivileged_userns_clone=0: they are for root only", "sysctl -w kernel.unprivileged_userns_clone=1"},
		{map[string]string{most: "0"}, "user.max_user_namespaces=0: none may be made", "sysctl -w user.max_user_namespaces=15000"},
	} {
		cause, remedy := usernsSetting(func(path string) (string, bool) { v, ok := test.host[path]; return v, ok })
		if cause != test.cause || remedy != test.remedy {
			t.Errorf("%v: %q, %q; want %q, %q", test.host, cause, remedy, test.cause, test.remedy)
		}
	}
}
