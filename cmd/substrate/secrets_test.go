package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Behind a shim, and on every route, the words of a command are looked at one by one, and what its own environment says too.
func TestSecretsOfRecorders(t *testing.T) { // REC10, SHM6
	for _, by := range recorders() {
		t.Run(by.name, func(t *testing.T) {
			home := home(t)
			for _, argv := range [][]string{
				{"-c", "echo --password " + planted[0]},
				{"-c", "echo $2", "x", "--token", planted[0]},
				{"-c", "echo $1", "x", planted[1]},
				{"-c", "echo x", planted[1]},
			} {
				cmd := exec.Command(by.path, argv...)
				cmd.Env = append(by.env(home), "TZ="+planted[1], "SHIM_CALLER="+planted[1], "SUBSTRATE_AGENT_ID=me:"+planted[1])
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%q: %v: %s", argv, err, out)
				}
			}
			for _, problem := range checkSecrets(home) {
				t.Error(problem)
			}
			vault, err := os.ReadFile(filepath.Join(home, ".substrate", "vault.jsonl"))
			if err != nil || bytes.Count(vault, []byte("\n")) != 4 || !bytes.Contains(vault, []byte(planted[0])) || !bytes.Contains(vault, []byte(planted[1])) {
				t.Errorf("the vault holds %q, %v", vault, err)
			}
			if got := bytes.Count(traceOf(t, home), []byte("‹secret:1›")); got == 0 {
				t.Error("no placeholder in the trace")
			}
		})
	}
}
