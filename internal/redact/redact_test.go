package redact

import (
	"slices"
	"strings"
	"testing"
)

// restored puts the values of r back.
func restored(t *testing.T, r *Redactor, s string) string {
	t.Helper()
	values := map[int]string{}
	for i, v := range r.Values() {
		values[i+1] = v
	}
	text, missing := Restore(s, values)
	if missing != "" {
		t.Errorf("Restore(%q) misses %s", s, missing)
	}
	return text
}

func TestSecretsAreFound(t *testing.T) { // REC10
	for _, c := range found {
		if !MayHold(c.text) {
			t.Errorf("MayHold(%q) = false", c.text)
		}
		var r Redactor
		got := r.Text(c.text)
		for _, secret := range c.secrets {
			if strings.Contains(got, secret) {
				t.Errorf("Text(%q)\n = %q, which holds %q", c.text, got, secret)
			}
		}
		if back := restored(t, &r, got); back != c.text {
			t.Errorf("%q came back as %q", c.text, back)
		}
	}
}

func TestLookAlikesAreLeftAlone(t *testing.T) { // REC10
	for _, s := range slices.Concat(harmless, plain) {
		var r Redactor
		if got := r.Text(s); got != s {
			t.Errorf("Text(%q) = %q", s, got)
		}
		if argv := strings.Fields(s); !slices.Equal(r.Words(argv), argv) {
			t.Errorf("Words(%q) = %q", argv, r.Words(argv))
		}
	}
}

func TestVariables(t *testing.T) { // REC10
	env := []string{"MY_TOKEN=abcd1234efgh5678", "KEYFILE_PATH=/etc/keys/mine", "AUTH_TOKEN=/run/secrets/x1", "API_KEY=short", "GIT_AUTHOR_NAME=Jane Doe 1970", "MAX_TOKENS=1000000000", "DB_PASSWORD=postgres"}
	var r Redactor
	r.Variables(env)
	for text, want := range map[string]string{
		"curl http://h/abcd1234efgh5678/x":  "curl http://h/‹secret:1›/x",
		"ls /etc/keys/mine /run/secrets/x1": "ls /etc/keys/mine /run/secrets/x1",
		"short Jane Doe 1970 1000000000":    "short Jane Doe 1970 1000000000",
		"psql -U postgres":                  "psql -U postgres",
	} {
		if got := r.Text(text); got != want {
			t.Errorf("Text(%q) = %q, want %q", text, got, want)
		}
	}
	if got := r.Words([]string{"x", "abcd1234efgh5678"}); got[1] != "‹secret:1›" {
		t.Errorf("Words = %q", got)
	}
	if len(r.Values()) != 1 {
		t.Errorf("%d values were taken out, want 1", len(r.Values()))
	}
}

func TestWords(t *testing.T) { // REC10
	for _, c := range []struct{ argv, want []string }{
		{[]string{"x", "--password", "hun ter", "y"}, []string{"x", "--password", "‹secret:1›", "y"}},
		{[]string{"x", "--password=a & b;'c", "y"}, []string{"x", "--password=‹secret:1›", "y"}},
		{[]string{"env", "API_KEY=a b", "make"}, []string{"env", "API_KEY=‹secret:1›", "make"}},
		{[]string{"/usr/bin/curl", "-u", "me:a b", "-H", "X-Api-Key: c d", "u"}, []string{"/usr/bin/curl", "-u", "me:‹secret:1›", "-H", "X-Api-Key: ‹secret:2›", "u"}},
		{[]string{"mysql", "-phunter2", "-p"}, []string{"mysql", "-p‹secret:1›", "-p"}},
		{[]string{"bash", "-c", "x --token abc1 --token=abc1"}, []string{"bash", "-c", "x --token ‹secret:1› --token=‹secret:1›"}},
		{[]string{"docker", "login", "-p", "x y"}, []string{"docker", "login", "-p", "‹secret:1›"}},
		{[]string{"ssh", "-p", "22"}, []string{"ssh", "-p", "22"}},
		{[]string{"x", "--password"}, []string{"x", "--password"}},
	} {
		var r Redactor
		before := slices.Clone(c.argv)
		if got := r.Words(c.argv); !slices.Equal(got, c.want) {
			t.Errorf("Words(%q) = %q, want %q", c.argv, got, c.want)
		}
		if !slices.Equal(before, c.argv) {
			t.Errorf("Words changed its argument to %q", c.argv)
		}
	}
}

func TestSameValueSameNumber(t *testing.T) { // REC10
	var r Redactor
	r.Words([]string{"x", "--token", "long-enough"})
	if got := r.Text("echo long-enough; TOKEN=long-enough; PASSWORD=other"); got != "echo ‹secret:1›; TOKEN=‹secret:1›; PASSWORD=‹secret:2›" {
		t.Errorf("Text = %q", got)
	}
}

func TestOrdinaryWordsAreNoRepeats(t *testing.T) { // REC10
	var r Redactor
	if got := r.Text("docker run -e POSTGRES_PASSWORD=postgres postgres:16"); got != "docker run -e POSTGRES_PASSWORD=‹secret:1› postgres:16" {
		t.Errorf("Text = %q", got)
	}
}

func TestTextLikeAPlaceholderSurvives(t *testing.T) { // REC10
	for _, s := range []string{"echo ‹secret:3›", "TOKEN=‹secret:1› x", "‹secret:1›‹secret:2›", "‹secret:›", "‹secret:1", "‹secret:99999999999999999999›"} {
		var r Redactor
		if back := restored(t, &r, r.Text(s)); back != s {
			t.Errorf("%q came back as %q", s, back)
		}
	}
}

func TestRestoreNamesWhatIsMissing(t *testing.T) { // REC10
	text, missing := Restore("a ‹secret:1› ‹secret:2›", map[int]string{1: "‹secret:2›"})
	if missing != "‹secret:2›" || text != "a ‹secret:2› " {
		t.Errorf("Restore = %q, %q", text, missing)
	}
}

func FuzzText(f *testing.F) { // REC10
	for _, c := range found {
		f.Add(c.text)
	}
	for _, s := range harmless {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var all Redactor
		finder := finder{s: s}
		finder.text()
		if len(finder.spans) > 0 && !MayHold(s) {
			t.Errorf("MayHold(%q) = false, but there is %q", s, s[finder.spans[0].from:finder.spans[0].to])
		}
		if back := restored(t, &all, all.Text(s)); back != s {
			t.Errorf("%q came back as %q", s, back)
		}
		argv := strings.Split(s, " ")
		for i, w := range all.Words(argv) {
			if back := restored(t, &all, w); back != argv[i] {
				t.Errorf("%q came back as %q", argv[i], back)
			}
		}
	})
}

func BenchmarkText(b *testing.B) {
	for name, s := range map[string]string{
		"plain": strings.Repeat(strings.Join(plain[:10], "\n"), 100), "secret": strings.Repeat(strings.Join(plain[:10], "\n"), 10) + "\nTOKEN=abc1\n",
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(s)))
			for b.Loop() {
				var r Redactor
				r.Text(s)
			}
		})
	}
}
