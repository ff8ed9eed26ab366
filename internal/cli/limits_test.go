package cli

import "testing"

// CGR2: sizes with and without a suffix, and what is not a size.
func TestByteSize(t *testing.T) {
	for text, want := range map[string]int64{
		"1": 1, "4096": 4096, "1K": 1 << 10, "512m": 512 << 20, "512MiB": 512 << 20, "2GB": 2 << 30, "1.5G": 3 << 29, "1T": 1 << 40,
		"": 0, "0": 0, "-1M": 0, "M": 0, "5X": 0, "1e30": 0, "nan": 0, "inf": 0, "0.1": 0,
	} {
		var b byteSize
		if err := b.Set(text); int64(b) != want || (err == nil) != (want > 0) {
			t.Errorf("Set(%q) = %v, value %d; want %d", text, err, b, want)
		}
	}
}

// CGR2: impossible limits are errors of usage.
func TestLimitFlags(t *testing.T) {
	for _, bad := range []limitFlags{{pids: -1}, {pids: 1 << 30}, {cpus: -1}, {cpus: 0.001}, {cpus: 1e9}} {
		if err := bad.check(); err == nil {
			t.Errorf("check of %+v gave no error", bad)
		}
	}
	good := limitFlags{memory: 1 << 20, pids: 3, cpus: 0.5}
	if err := good.check(); err != nil {
		t.Errorf("check of %+v: %v", good, err)
	}
}
