package world

import (
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"substrate/internal/testenv"
)

// WLD4: a command can neither read nor fill the caller's keyrings: a world has none.
func TestIsolationKeyring(t *testing.T) {
	asRootAndUser(t, func(t *testing.T) {
		a := newArena(t)
		runtime.LockOSThread() // the session keyring belongs to the thread, which ends with this test's process
		if _, err := unix.KeyctlInt(unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0); err != nil {
			testenv.Skip(t, "needs kernel keyrings: "+err.Error())
		}
		_, err := unix.AddKey("user", "substrate:outside", []byte("secret"), unix.KEY_SPEC_SESSION_KEYRING)
		must(t, err)
		if got := requestKey("substrate:outside"); got != "ok" {
			t.Fatalf("the key is not found outside: %s", got)
		}
		facts, _ := a.probe("keyring")
		expect(t, facts, map[string]string{"outside": "ENOSYS", "add": "ENOSYS", "inside": "ENOSYS"})
		if got := requestKey("substrate:inside"); got != "ENOKEY" {
			t.Errorf("a key made inside, looked for outside: %s, want ENOKEY", got)
		}
	})
}

func probeKeyring(fact func(string, any)) {
	runtime.LockOSThread()
	fact("outside", requestKey("substrate:outside"))
	_, err := unix.AddKey("user", "substrate:inside", []byte("x"), unix.KEY_SPEC_SESSION_KEYRING)
	fact("add", errno(err))
	fact("inside", requestKey("substrate:inside"))
}

// requestKey looks for a key without asking anybody to make it.
func requestKey(name string) string {
	kind, _ := unix.BytePtrFromString("user")
	p, _ := unix.BytePtrFromString(name)
	_, _, e := unix.Syscall6(unix.SYS_REQUEST_KEY, uintptr(unsafe.Pointer(kind)), uintptr(unsafe.Pointer(p)), 0, 0, 0, 0)
	return errnoOf(e)
}
