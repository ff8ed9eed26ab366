package redact

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// plain are commands and values as they come by the thousand; none may cost more than a quick look.
var plain = []string{
	"git status", "ls -la", "npm test", "cd x && make -j8", "mkdir -p demo", "ssh -p 22 host", "cp -u a b", "pwd", "pwd && ls", `cd "$PWD"`,
	"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/home/u/.cargo/bin:/snap/bin", "xterm-256color", "en_US.UTF-8", "/bin/bash",
	"git commit -m 'fix the parser'", "git log --author=me --oneline", "go test ./...", "docker ps -a", "tar -xpf a.tar", "grep -rn foo src",
	"curl -sSL https://example.org/install.sh | bash", "git clone https://github.com/a/b.git", "make -j8 && sudo make install",
	"python3 -m venv .venv", "pip install -U pip", "find . -name '*.go' -print0 | xargs -0 wc -l", "sort -u", "sort -k2 -u a", "task-runner --all",
	"echo hello > a.txt", "sed -i 's/a/b/' x", "for i in 1 2 3; do echo $i; done", "kubectl get pods -A", "cat README.md", "monkey business",
	"ssh-keygen -l -f x", "jq -r .items[0].name", "rsync -av a/ b/", "FOO=bar make", "true", "", "node index.js", "disk-usage -p /", "apt-get update",
	"ssh-keygen -t ed25519 -f k", "mosquitto_sub -t x", "vault status", "vault kv get x", "plink host", "npm config set x y",
}

func TestPrefilterLetsPlainCommandsGo(t *testing.T) { // REC10
	for _, s := range plain {
		if MayHold(s) {
			t.Errorf("MayHold(%q) = true", s)
		}
		var words Hints
		for _, w := range strings.Fields(s) {
			words |= HintsOf(w)
		}
		if words.MayHold() {
			t.Errorf("words of %q: MayHold = true", s)
		}
	}
}

// The table of pairs hides nothing that the comparisons would find.
func TestPairsAreComplete(t *testing.T) {
	texts := slices.Concat(harmless, plain)
	for _, c := range found {
		texts = append(texts, c.text, strings.ToUpper(c.text))
	}
	source, err := os.ReadFile("prefilter.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, literal := range regexp.MustCompile(`"[^"\n]+"`).FindAllString(string(source), -1) {
		texts = append(texts, strings.Trim(literal, `"`)+"-x_ =", "_"+strings.Trim(literal, `"`)+"=")
	}
	for _, s := range texts {
		for i := range len(s) - 1 {
			if h := hintAt(s, i); h != 0 && follows[s[i]]>>(s[i+1]&31)&1 == 0 {
				t.Errorf("%q is a hint at %d, but the table hides it", s, i)
			}
		}
	}
}

func TestSecretName(t *testing.T) { // REC10
	for name, want := range map[string]bool{
		"GITHUB_TOKEN": true, "AWS_SECRET_ACCESS_KEY": true, "DB_PASSWORD": true, "MYSQL_PWD": true, "apiKey": true, "CARD_PIN": true, "NPM_AUTH": true,
		"PWD": false, "EDITOR": false, "HOME": false, "PINNED": false, "": false, "TERM": false, "GOPATH": false,
	} {
		if got := SecretName(name); got != want {
			t.Errorf("SecretName(%q) = %v, want %v", name, got, want)
		}
	}
}

func TestHintsJoin(t *testing.T) { // REC10: the flag and the program stand in different words
	for _, argv := range [][]string{{"curl", "-u", "a:b"}, {"/usr/bin/mysql", "-psecret"}, {"docker", "login", "-p", "x"}, {"redis-cli", "-a", "x"}, {"x", "--password", "y"}} {
		var found Hints
		for _, w := range argv {
			found |= HintsOf(w)
		}
		if !found.MayHold() {
			t.Errorf("%q: MayHold = false", argv)
		}
	}
}

func TestEveryProgramIsAHint(t *testing.T) { // REC10
	source, err := os.ReadFile("programs.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, literal := range regexp.MustCompile(`"[a-z0-9-]{2,}"`).FindAllString(string(source), -1) {
		program := strings.Trim(literal, `"`)
		f, ok := flagsOf(program)
		if !ok || f.login {
			continue
		}
		given := []string{f.word}
		for _, letter := range f.letters + f.cookies {
			given = append(given, "-"+string(letter))
		}
		for _, flag := range given {
			if (flag != "" || f.logon) && !(HintsOf(program) | HintsOf(flag)).MayHold() {
				t.Errorf("%s %s is no hint", program, flag)
			}
		}
	}
}

func TestPrefilterDoesNotAllocate(t *testing.T) {
	s := strings.Join(plain, "\n")
	if n := testing.AllocsPerRun(10, func() { HintsOf(s) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkMayHold(b *testing.B) {
	s := strings.Repeat(strings.Join(plain[:10], "\n"), 100)
	b.SetBytes(int64(len(s)))
	for b.Loop() {
		if MayHold(s) {
			b.Fatal("nothing to find")
		}
	}
}
