package shell

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestParse(t *testing.T) { // REC1, REC2, REC6
	words := strings.Fields
	tests := []struct {
		args string
		want Invocation
	}{
		{"-c CMD", Invocation{Command: "CMD", Args: words("-c CMD")}},
		{"-lc CMD name arg", Invocation{Command: "CMD", Args: words("-lc CMD name arg")}},
		{"-c -l CMD", Invocation{Command: "CMD", Args: words("-c -l CMD")}},
		{"-ic CMD", Invocation{Command: "CMD", Args: words("-ic CMD"), Interactive: true}},
		{"-c -o pipefail CMD", Invocation{Command: "CMD", Args: words("-c -o pipefail CMD")}},
		{"-oco pipefail errexit CMD x", Invocation{Command: "CMD", Args: words("-oco pipefail errexit CMD x")}},
		{"-O extglob +O dotglob -c CMD", Invocation{Command: "CMD", Args: words("-O extglob +O dotglob -c CMD")}},
		{"--rcfile -c -c CMD", Invocation{Command: "CMD", Args: words("--rcfile -c -c CMD")}},
		{"-c -- -x", Invocation{Command: "-x", Args: words("-c -- -x")}},
		{"-c --shell /bin/zsh CMD --shell x", Invocation{Command: "CMD", Shell: "/bin/zsh", Args: words("-c CMD --shell x")}},
		{"--shell=/bin/zsh -c CMD --ci", Invocation{Command: "CMD", Shell: "/bin/zsh", Args: words("-c CMD --ci")}},
		{"--ci -c CMD", Invocation{Command: "CMD", CI: true, Args: words("-o errexit -o nounset -o pipefail -c CMD")}},
		{"--norc --rcfile F -e --ci -c CMD", Invocation{
			Command: "CMD", CI: true,
			Args: words("--norc --rcfile F -o errexit -o nounset -o pipefail -e -c CMD"),
		}},
		{"--ci --no-exit-on-error -c CMD", Invocation{Command: "CMD", Args: words("-c CMD")}},
		{"--shim-skip -c CMD --shim-skip", Invocation{Command: "CMD", SkipShims: true, Args: words("-c CMD --shim-skip")}},
		{"-c", Invocation{Args: words("-c")}},
		{"-o", Invocation{Kind: FromStdin, Args: words("-o")}},
		{"", Invocation{Kind: FromStdin}},
		{"--", Invocation{Kind: FromStdin, Args: words("--")}},
		{"-s a b", Invocation{Kind: FromStdin, Args: words("-s a b")}},
		{"-i", Invocation{Kind: FromStdin, Interactive: true, Args: words("-i")}},
		{"script a -c b", Invocation{Kind: FromScript, Script: words("script a -c b"), Args: words("script a -c b")}},
		{"-x script", Invocation{Kind: FromScript, Script: words("script"), Args: words("-x script")}},
		{"-- script", Invocation{Kind: FromScript, Script: words("script"), Args: words("-- script")}},
		{"-f script -x", Invocation{Kind: FromScript, Script: words("script -x"), Args: words("script -x")}},
		{"--ci -f script", Invocation{
			Kind: FromScript, CI: true, Script: words("script"),
			Args: words("-o errexit -o nounset -o pipefail script"),
		}},
		{"-f -c CMD", Invocation{Command: "CMD", Args: words("-f -c CMD")}},
		{"-fc CMD", Invocation{Command: "CMD", Args: words("-fc CMD")}},
		{"-e -f script", Invocation{Kind: FromScript, Script: words("script"), Args: words("-e -f script")}},
	}
	for _, test := range tests {
		got, err := Parse(words(test.args))
		if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
			t.Errorf("Parse(%q): %v (-want +got):\n%s", test.args, err, diff)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for args, notYet := range map[string]bool{
		"--pty -c x": true, "-c --pty x": true, "--unknown": false, "--shell": false, "--shell=": false, "--ci=1": false,
	} {
		if _, err := Parse(strings.Fields(args)); err == nil || errors.Is(err, ErrNotYet) != notYet {
			t.Errorf("Parse(%q) = %v, want an error, not yet: %v", args, err, notYet)
		}
	}
}

// The shell gets all words that are not our options, in the same order.
func TestParseKeepsWhatIsNotOurs(t *testing.T) {
	word := rapid.SampledFrom([]string{"-c", "-l", "-o", "-O", "+e", "-", "--", "", "-xo", "x", "-s", "--login", "--rcfile", "-é", "a b", "-i"})
	rapid.Check(t, func(t *rapid.T) {
		args := rapid.SliceOf(word).Draw(t, "args")
		inv, err := Parse(args)
		if err != nil {
			t.Fatalf("Parse(%q) = %v", args, err)
		}
		if strings.Join(inv.Args, "\x00") != strings.Join(args, "\x00") {
			t.Fatalf("Parse(%q).Args = %q", args, inv.Args)
		}
	})
}
