package testenv

import (
	"os"
	"testing"
)

// NeedVM skips the test because of what this machine lacks, unless this is the virtual machine of `make test-vm`, where nothing
// may lack and the test fails. Where that machine ran as well its pass counts; where it could not be had, the skip is
// excused by the text that testsum looks for.
func NeedVM(t testing.TB, lacks string) {
	t.Helper()
	if InVM() {
		t.Fatalf("the virtual machine lacks what it is made for: %s", lacks)
	}
	t.Skip("waits for the machine of `make test-vm`: " + lacks)
}

// InVM says whether this is the virtual machine of `make test-vm`, on whose host settings a test may turn.
func InVM() bool { return os.Getenv("SUBSTRATE_TEST_VM") == "1" }
