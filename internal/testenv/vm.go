package testenv

import (
	"os"
	"testing"
)

// NeedVM skips the test because this machine lacks something. On the virtual machine of `make
// test-vm` the test fails instead. If that machine did not run, testsum excuses the skip by its
// text.
func NeedVM(t testing.TB, lacks string) {
	t.Helper()
	if InVM() {
		t.Fatalf("the virtual machine lacks what it is made for: %s", lacks)
	}
	t.Skip("waits for the machine of `make test-vm`: " + lacks)
}

// InVM reports whether this is the virtual machine of `make test-vm`, whose settings a test may
// change.
func InVM() bool { return os.Getenv("SUBSTRATE_TEST_VM") == "1" }
