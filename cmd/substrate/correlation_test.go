package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"substrate/internal/testenv"
)

// machine is a home where both programs are installed and the first command deploys the shims.
// Programs that a test makes up lie in bin, which is on PATH.
type machine struct {
	t    *testing.T
	home string
	env  []string
}

// newMachine makes one, with programs that are shell scripts: names and texts in turn.
func newMachine(t *testing.T, programs ...string) *machine {
	t.Helper()
	m := &machine{t: t, home: home(t)}
	for i := 0; i < len(programs); i += 2 {
		script(t, filepath.Join(m.home, "bin", programs[i]), "#!/bin/sh\n"+programs[i+1]+"\n")
	}
	m.env = append(cleanEnv(m.home), "PATH="+installed()+":"+filepath.Join(m.home, "bin")+":/usr/bin:/bin")
	m.env = slices.DeleteFunc(m.env, func(entry string) bool { return strings.HasPrefix(entry, "PATH="+filepath.Dir(program)+":") })
	return m
}

// file writes one below the home.
func (m *machine) file(name, text string) {
	m.t.Helper()
	path := filepath.Join(m.home, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		m.t.Fatal(err)
	}
}

// run gives cmd to substrate -c and wants status 0 and nothing on standard error.
func (m *machine) run(cmd string) string {
	m.t.Helper()
	got := runProgram(m.home, m.env, "", filepath.Join(installed(), "substrate"), "-c", cmd)
	if got.status != 0 || got.stderr != "" {
		m.t.Fatalf("substrate -c %q: %+v", cmd, got)
	}
	return got.stdout
}

// shims is the directory of the links.
func (m *machine) shims() string { return filepath.Join(m.home, ".substrate", "shims") }

// tree is the trace as lines "DEPTH CMD < CMD OF THE PARENT", of which equal ones are counted. All
// spans must be of the given number of sessions, parents must be in the session of their children,
// and depths one less.
func (m *machine) tree(sessions int) (lines []string) {
	m.t.Helper()
	spans, seen, count := spansOf(traceOf(m.t, m.home)), map[string]bool{}, map[string]int{}
	for id, s := range spans {
		start := s.start[0]
		seen[field(start, "session_id")] = true
		parent, depth := "none", number(start, "depth")
		if p := spans[field(start, "parent_span")]; p != nil {
			parent = field(p.start[0], "cmd")
			if number(p.start[0], "depth") != depth-1 || field(p.start[0], "session_id") != field(start, "session_id") {
				m.t.Errorf("span %s: depth %d and session are not those of a child of %v", id, depth, p.start[0])
			}
		} else if field(start, "parent_span") != "" || depth != 0 {
			m.t.Errorf("span %s: parent %q is not in the trace, or depth %d without one", id, field(start, "parent_span"), depth)
		}
		count[fmt.Sprintf("%d %s < %s", depth, field(start, "cmd"), parent)]++
	}
	if len(seen) != sessions {
		m.t.Errorf("%d sessions, want %d", len(seen), sessions)
	}
	for line, n := range count {
		if n > 1 {
			line += fmt.Sprintf(" ×%d", n)
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	shown := 0
	for session := range seen {
		shown += m.shown(session, spans)
	}
	if shown != len(spans) {
		m.t.Errorf("trace tree shows %d spans, the trace holds %d", shown, len(spans))
	}
	return lines
}

// shown compares what `trace tree` shows of a session with the spans, and says how many it shows.
func (m *machine) shown(session string, spans map[string]*span) int {
	m.t.Helper()
	got := runProgram(m.home, m.env, "", filepath.Join(installed(), "substrate"), "trace", "tree", "--json", session)
	var tree struct {
		Spans []struct {
			SpanID     string `json:"span_id"`
			ParentSpan string `json:"parent_span"`
			Depth      int
			Incomplete bool
			Orphan     bool
			Cycle      bool
		}
	}
	if err := json.Unmarshal([]byte(got.stdout), &tree); err != nil || got.status != 0 || got.stderr != "" {
		m.t.Fatalf("trace tree: %+v, %v", got, err)
	}
	for _, s := range tree.Spans {
		start := spans[s.SpanID].start[0]
		if s.ParentSpan != field(start, "parent_span") || s.Depth != number(start, "depth") || s.Incomplete || s.Orphan || s.Cycle {
			m.t.Errorf("trace tree shows %+v of %v", s, start)
		}
	}
	return len(tree.Spans)
}

// number is a field that is a number; 0 if it is not there.
func number(record map[string]any, name string) int {
	n, _ := record[name].(float64)
	return int(n)
}

// wantTree compares the trace with lines.
func (m *machine) wantTree(sessions int, want ...string) {
	m.t.Helper()
	got := m.tree(sessions)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		m.t.Errorf("the tree is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestTreeOfScriptsAndShims(t *testing.T) { // REC8
	testenv.NeedProgram(t, "make")
	m := newMachine(t, "node", "exit 0")
	m.file("Makefile", "all:\n\t@substrate -c 'node inner; :'\n\t@node direct\n")
	m.file("build.sh", "make -s; node after\n")
	m.run("bash build.sh; node last")
	m.wantTree(1,
		"0 bash build.sh; node last < none",
		"1 make -s < bash build.sh; node last", "1 node after < bash build.sh; node last", "1 node last < bash build.sh; node last",
		"2 node inner; : < make -s", "2 node direct < make -s", "3 node inner < node inner; :",
	)
}

func TestTreeOfParallelChildren(t *testing.T) { // REC8: siblings are siblings
	m := newMachine(t, "node", "exit 0", "npm", "node a & node b; wait; node c")
	m.run(`seq 24 | xargs -P 6 -n 1 node; node x & node y & (node z); wait`)
	want := []string{`0 seq 24 | xargs -P 6 -n 1 node; node x & node y & (node z); wait < none`}
	for _, arg := range append(strings.Fields("x y z"), numbers(24)...) {
		want = append(want, "1 node "+arg+` < seq 24 | xargs -P 6 -n 1 node; node x & node y & (node z); wait`)
	}
	m.wantTree(1, want...)
}

// numbers are 1 to n.
func numbers(n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprint(i+1))
	}
	return list
}

func TestTreeOfNpmAndNode(t *testing.T) { // REC8: programs that call programs
	m := newMachine(t,
		"node", `case $1 in install) git fetch & node post; wait;; esac`,
		"npm", `exec node "$@"`, // as the real one: a script of node's
		"git", `[ "$1" != fetch ] || git gc`,
	)
	m.run("npm install")
	m.wantTree(1,
		"0 npm install < none",
		"1 npm install < npm install",
		"2 node install < npm install",
		"3 git fetch < node install",
		"3 node post < node install",
		"4 git gc < git fetch",
	)
}

// TestTreeOfGit: git puts its own directory first on PATH, so what it calls of itself is seen only
// as far as it has to go through PATH; what its hooks and aliases call has git for a parent.
func TestTreeOfGit(t *testing.T) { // REC8
	testenv.NeedProgram(t, "git")
	m := newMachine(t, "node", "exit 0", "npm", "node lint")
	m.file(".gitconfig", "[user]\n name = t\n email = t@localhost\n[init]\n defaultBranch = main\n[alias]\n check = !npm test\n")
	m.run("git init -q repo")
	m.file("repo/.git/hooks/pre-commit", "#!/bin/sh\nnode hook\n")
	m.run("cd repo && git commit -q --allow-empty -m one")
	m.run("cd repo && git check")
	m.wantTree(3,
		"0 git init -q repo < none", "1 git init -q repo < git init -q repo",
		"0 cd repo && git commit -q --allow-empty -m one < none",
		"1 git commit -q --allow-empty -m one < cd repo && git commit -q --allow-empty -m one",
		"2 node hook < git commit -q --allow-empty -m one",
		"0 cd repo && git check < none", "1 git check < cd repo && git check", "2 npm test < git check", "3 node lint < npm test",
	)
}

func TestTreeOfMake(t *testing.T) { // REC8
	testenv.NeedProgram(t, "make")
	const children = 200
	m := newMachine(t, "node", "exit 0")
	m.file("Makefile", fmt.Sprintf("all: $(shell seq %d)\n\t@$(MAKE) -s -C sub\n%%:\n\t@node $@\n.PHONY: all\n", children))
	m.file("sub/Makefile", "all:\n\t@node sub\n")
	m.run("make -s -j8")
	want := []string{
		"0 make -s -j8 < none", "1 make -s -j8 < make -s -j8", "2 make -s -C sub < make -s -j8", "3 node sub < make -s -C sub",
	}
	for _, n := range numbers(children) {
		want = append(want, "2 node "+n+" < make -s -j8")
	}
	m.wantTree(1, want...)
}

// TestTreeBreaksWithTheEnvironment: what drops the environment begins a session of its own, or is
// not seen at all where PATH goes too; it runs in any case.
func TestTreeBreaksWithTheEnvironment(t *testing.T) { // REC8
	m := newMachine(t,
		"node", "echo node $1",
		// As sudo does with env_reset, with and without secure_path.
		"sudo", `exec env -i HOME="$HOME" PATH="$PATH" "$@"`,
		"sudo-secure", `exec env -i HOME="$HOME" PATH=/usr/bin:/bin "$@"`,
	)
	m.run("true")
	const all = `sudo node a; sudo substrate -c 'node b; :'; sudo-secure sh -c 'echo no node'; env -i HOME="$HOME" "$(command -v node)" c`
	if got := m.run(all); got != "node a\nnode b\nno node\nnode c\n" {
		t.Errorf("printed %q", got)
	}
	m.wantTree(5, "0 true < none", "0 "+all+" < none", "0 node a < none", "0 node b; : < none", "1 node b < node b; :",
		"0 "+m.shims()+"/node c < none")
}

// TestShimsFollowPATH: a script that changes PATH behind the shims, as nvm does, gets the program
// that it would get without them.
func TestShimsFollowPATH(t *testing.T) { // SHM5, REC1
	m := newMachine(t, "node", "echo 18")
	script(t, filepath.Join(m.home, "v20", "node"), "#!/bin/sh\necho 20\n")
	got := m.run(`node; PATH=${PATH/$HOME\/bin/$HOME\/v20}; node; PATH=$PATH:$HOME/more; node`)
	if got != "18\n20\n20\n" {
		t.Errorf("printed %q", got)
	}

	// A wrapper that takes its own directory off PATH and calls what it is named after.
	script(t, filepath.Join(m.home, "bin", "git"), "#!/bin/sh\nPATH=${PATH%%$HOME/bin:*}${PATH#*$HOME/bin:} exec git wrapped $1\n")
	script(t, filepath.Join(m.home, "real", "git"), "#!/bin/sh\necho $1 $2\n")
	if got := m.run("PATH=$PATH:$HOME/real; PATH=${PATH/:\\/usr\\/bin:/:$HOME\\/real:\\/usr\\/bin:}; git x"); got != "wrapped x\n" {
		t.Errorf("behind a wrapper: %q", got)
	}
}

// TestShimOfPython: Python finds its virtual environment by argv[0], and would find the shim.
func TestShimOfPython(t *testing.T) { // SHM5
	m := newMachine(t)
	for _, name := range []string{"python3", "node"} { // which shows the argv that it was given
		if err := errors.Join(os.MkdirAll(filepath.Join(m.home, "bin"), 0o755), os.Symlink("/bin/cat", filepath.Join(m.home, "bin", name))); err != nil {
			t.Fatal(err)
		}
	}
	const show = ` /proc/self/cmdline | tr '\0' ' '; `
	m.run("true")
	got := m.run("python3" + show + m.shims() + "/python3" + show + "SHIM_BYPASS=1 python3" + show + "node" + show + "(exec -a /x/python3 " + m.shims() + "/python3" + show + ")")
	python := m.home + "/bin/python3 /proc/self/cmdline "
	if want := python + python + python + "node /proc/self/cmdline /x/python3 /proc/self/cmdline "; got != want {
		t.Errorf("argv is\n%s, want\n%s", got, want)
	}
	if argv := field(recordsOf(traceOf(t, m.home))[3], "argv"); argv != `["python3","/proc/self/cmdline"]` {
		t.Errorf("recorded argv %s", argv)
	}
}
