package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A test that is skipped in one pass and passes in the other is not skipped; one that
// no pass ran is, and fails where skips are not allowed.
func TestSkipCountsOnlyIfNoPassRanIt(t *testing.T) {
	file := filepath.Join(t.TempDir(), "results")
	root := `{"Action":"pass","Package":"p","Test":"TestRoot"}
{"Action":"output","Package":"p","Test":"TestNever","Output":"    x_test.go:9: no such kernel\n"}
{"Action":"skip","Package":"p","Test":"TestNever"}
{"Action":"pass","Package":"p"}`
	user := `{"Action":"skip","Package":"p","Test":"TestRoot"}
{"Action":"skip","Package":"p","Test":"TestNever"}
{"Action":"pass","Package":"p"}`
	var out strings.Builder
	for as, in := range map[string]string{"root": root, "user": user} {
		if err := readPass(strings.NewReader(in), &out, as, file); err != nil {
			t.Fatal(err)
		}
	}
	if !strings.Contains(out.String(), "no such kernel") {
		t.Errorf("the reason of a skip is not printed:\n%s", out.String())
	}
	out.Reset()
	if err := printSum(&out, file, false, false); err != nil {
		t.Errorf("printSum = %v, want nil", err)
	}
	if !strings.HasSuffix(out.String(), "\n1 passed, 0 failed, 1 skipped\n") {
		t.Errorf("printSum printed:\n%s", out.String())
	}
	if printSum(&out, file, true, false) == nil {
		t.Error("printSum with skips not allowed = nil, want an error")
	}
}

// A package that fails without a failed test, as one that does not compile, is a failure.
func TestPackageFailure(t *testing.T) {
	file := filepath.Join(t.TempDir(), "results")
	var out strings.Builder
	in := `{"ImportPath":"p","Action":"build-output","Output":"x.go:1: undefined\n"}
{"Action":"fail","Package":"p","FailedBuild":"p"}`
	if readPass(strings.NewReader(in), &out, "root", file) == nil {
		t.Error("readPass = nil, want an error")
	}
	if !strings.Contains(out.String(), "undefined") {
		t.Errorf("what the compiler said is not printed:\n%s", out.String())
	}
	if printSum(&out, file, false, false) == nil {
		t.Error("printSum = nil, want an error")
	}
}

// PKG6: without a virtual machine its tests may skip; with one they may not.
func TestSumWithoutVM(t *testing.T) {
	file := filepath.Join(t.TempDir(), "results")
	text := `{"As":"root","Package":"p","Test":"TestA","Action":"pass"}
{"As":"root","Package":"p","Test":"TestB","Action":"skip","Reason":"waits for the machine of ` + "`make test-vm`" + `: x"}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := printSum(&out, file, true, true); err != nil {
		t.Errorf("printSum without a machine = %v, want nil", err)
	}
	if printSum(&out, file, true, false) == nil {
		t.Error("printSum with a machine = nil, want an error")
	}
	more := `{"As":"root","Package":"p","Test":"TestC","Action":"skip","Reason":"for another reason"}` + "\n"
	if err := os.WriteFile(file, []byte(text+more), 0o600); err != nil {
		t.Fatal(err)
	}
	if printSum(&out, file, true, true) == nil {
		t.Error("printSum with another skip = nil, want an error")
	}
}
