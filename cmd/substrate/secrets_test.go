package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Behind a shim, and on every route, the words of a command are looked at one by one, and what its
// own environment says too.
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

// TestSecretsOfTheEnvironment: a shell puts the value in the place of $NAME, and what it calls gets
// that.
func TestSecretsOfTheEnvironment(t *testing.T) { // REC10
	for _, by := range recorders() {
		home := home(t)
		const secret = "plain1words2here3"
		for _, command := range []string{"echo x/" + secret, "exit 3"} {
			cmd := exec.Command(by.path, "-c", command)
			cmd.Env = append(by.env(home), "DEPLOY_TOKEN="+secret)
			_ = cmd.Run()
		}
		text := traceOf(t, home)
		if bytes.Contains(text, []byte(secret)) || !bytes.Contains(text, []byte("echo x/‹secret:1›")) || bytes.Count(text, []byte("secret:")) > 8 {
			t.Errorf("%s: the trace holds %s", by.name, text)
		}
	}
}
