package world

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"substrate/internal/testenv"
	"substrate/internal/world/cgroup"
	"substrate/internal/world/state"
)

// The tests in this file run the program itself, linked as it is shipped, on a machine of
// machine_test.go, and look from outside at what its worlds have on the host while they run.

// programVar names the program that the first process of the tests has built.
const programVar = "SUBSTRATE_TEST_PROGRAM"

// TestMain removes what the tests built.
func TestMain(m *testing.M) {
	status := m.Run()
	if builtIn != "" {
		_ = os.RemoveAll(builtIn)
	}
	os.Exit(status)
}

var builtIn string // directory of the program that this process has built

// build makes the program once; processes that the tests start find it in the environment.
var build = sync.OnceValue(func() error {
	if os.Getenv(programVar) != "" {
		return nil
	}
	dir, err := os.MkdirTemp("", "substrate-program-")
	if err != nil {
		return err
	}
	builtIn = dir
	path := filepath.Join(dir, "substrate")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -E substrate_entry", "-o", path, "substrate/cmd/substrate")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return os.Setenv(programVar, path)
})

// program is where a machine has the program.
const program = "/home/bin/substrate"

// withProgram is onMachine with the program on the machine.
func withProgram(t *testing.T, body func(t *testing.T, m *machine)) {
	t.Helper()
	testenv.NeedRoot(t)
	must(t, build())
	onMachine(t, func(t *testing.T, m *machine) {
		// /tmp, where the program is, is covered by now; /home is not.
		must(t, os.Mkdir("/home/bin", 0o755))
		must(t, os.WriteFile(program, m.program, 0o755))
		body(t, m)
	})
}

// substrate prepares the program with the machine's user, home and tree.
func (m *machine) substrate(args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.SysProcAttr = m.tree, m.owner()
	cmd.Env = append(m.env(), "SHELL=/bin/bash", "SUBSTRATE_WORLD_MAX=0", "SUBSTRATE_OVERLAY_ROOT="+m.dirs.Overlay[0])
	return cmd
}

// ran is how the program ended.
type ran struct {
	stdout, stderr string
	status         int
}

// finish runs cmd to its end.
func (m *machine) finish(cmd *exec.Cmd) ran {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		return ran{stderr: err.Error(), status: -1}
	}
	timer := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	_ = cmd.Wait()
	return ran{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// lastSpan is the id of the last command in the trace.
func (m *machine) lastSpan() string {
	m.t.Helper()
	spans := m.spans("command_complete")
	if len(spans) == 0 {
		m.t.Fatal("nothing was recorded")
	}
	return spans[len(spans)-1]["span_id"].(string)
}

// spans returns the lines of the trace about one event.
func (m *machine) spans(event string) (lines []map[string]any) {
	m.t.Helper()
	text, err := os.ReadFile(m.home + "/.substrate/trace.jsonl")
	must(m.t, err)
	for line := range bytes.Lines(text) {
		var span map[string]any
		must(m.t, json.Unmarshal(line, &span))
		if span["event_type"] == event {
			lines = append(lines, span)
		}
	}
	return lines
}

// longReplay is a replay that waits until end is called.
type longReplay struct {
	m      *machine
	cmd    *exec.Cmd
	stdin  *os.File
	stdout *bufio.Reader
	stderr bytes.Buffer
	timer  *time.Timer
}

// startReplay replays span in a world and returns when the command runs. Its standard input is a
// fifo.
func (m *machine) startReplay(span string) *longReplay {
	m.t.Helper()
	fifo := m.tree + "/fifo" + randomName()
	must(m.t, unix.Mkfifo(fifo, 0o600))
	must(m.t, os.Chown(fifo, m.uid, m.uid))
	r := &longReplay{m: m, cmd: m.substrate("--replay", span, "--world", "--stdin", fifo)}
	var err error
	r.stdin, err = os.OpenFile(fifo, os.O_RDWR, 0)
	must(m.t, err)
	pipe, err := r.cmd.StdoutPipe()
	must(m.t, err)
	r.stdout, r.cmd.Stderr = bufio.NewReader(pipe), &r.stderr
	must(m.t, r.cmd.Start())
	r.timer = time.AfterFunc(patience, func() { _ = r.cmd.Process.Kill() })
	if line, err := r.stdout.ReadString('\n'); line != "ready\n" {
		_ = r.cmd.Wait()
		m.t.Fatalf("the replay says %q, %v\n%s", line, err, r.stderr.String())
	}
	must(m.t, os.Remove(fifo))
	return r
}

// end lets the command continue and returns how it ended.
func (r *longReplay) end() ran {
	r.m.t.Helper()
	_, err := r.stdin.WriteString("go\n")
	must(r.m.t, err)
	var rest bytes.Buffer
	_, _ = rest.ReadFrom(r.stdout)
	_ = r.cmd.Wait()
	r.timer.Stop()
	must(r.m.t, r.stdin.Close())
	return ran{rest.String(), r.stderr.String(), r.cmd.ProcessState.ExitCode()}
}

// waiting is the command of a longReplay.
const waiting = `echo ready; read -r x; echo "got $x"; echo "$x" > made; exit 7`

// prime makes a first world, which makes the files that all worlds share.
func (m *machine) prime() {
	m.t.Helper()
	if got := m.finish(m.substrate("world", "run", "--no-report", "--", "true")); got.status != 0 || got.stdout != "" {
		m.t.Fatalf("the first world: %+v", got)
	}
}

// recordWaiting records it and removes what it made.
func (m *machine) recordWaiting() string {
	m.t.Helper()
	m.prime()
	cmd := m.substrate("-c", waiting)
	cmd.Stdin = strings.NewReader("first\n")
	if got := m.finish(cmd); got.status != 7 || got.stdout != "ready\ngot first\n" {
		m.t.Fatalf("recorded: %+v", got)
	}
	must(m.t, os.Remove(m.tree+"/made"))
	return m.lastSpan()
}

// ended checks how a long replay ended.
func (r *longReplay) ended() {
	r.m.t.Helper()
	got := r.end()
	if got.status != 7 || got.stdout != "got go\n" || !strings.Contains(got.stderr, "Exit code: 7\nFilesystem changes:\n  + made\n") {
		r.m.t.Errorf("the replay ended with %+v", got)
	}
	if _, err := os.Lstat(r.m.tree + "/made"); !os.IsNotExist(err) {
		r.m.t.Errorf("the host has got the file that the replay made: %v", err)
	}
}

// listed returns the worlds that `substrate world list` finds.
func (m *machine) listed() []state.Listed {
	m.t.Helper()
	got := m.finish(m.substrate("world", "list", "--json"))
	var list struct{ Worlds []state.Listed }
	if err := json.Unmarshal([]byte(got.stdout), &list); err != nil || got.status != 0 {
		m.t.Fatalf("world list: %+v, %v", got, err)
	}
	return list.Worlds
}

// output returns what a program of the host prints.
func (m *machine) output(name string, args ...string) string {
	m.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		m.t.Errorf("%s %q: %v: %s", name, args, err, out)
	}
	return string(out)
}

// WLD6, NET1, CGR1: while a replay runs as root, its cgroup, network namespace and table have its
// name and can be inspected; a user's have no names. The host's rules never change. Afterwards
// everything is gone.
func TestShowRunningReplay(t *testing.T) {
	testenv.NeedProgram(t, "nft")
	testenv.NeedProgram(t, "ip")
	withProgram(t, func(t *testing.T, m *machine) {
		m.output("nft", "add", "table", "inet", "of_the_host")
		rules := m.output("nft", "list", "ruleset")
		span := m.recordWaiting()
		testenv.Leaks(t, "/run/netns")
		r := m.startReplay(span)
		worlds := m.listed()
		if len(worlds) != 1 || !worlds[0].Alive || worlds[0].PID != r.cmd.Process.Pid || worlds[0].Cwd != m.tree {
			t.Fatalf("world list shows %+v, want one that runs in %s by process %d", worlds, m.tree, r.cmd.Process.Pid)
		}
		if worlds[0].Name != span {
			t.Errorf("the world of a replay of %s is called %s", span, worlds[0].Name)
		}
		group := ""
		if name := worlds[0].Name; m.uid == 0 {
			group = m.cgroupOf(name)
			var got string
			for end := time.Now().Add(20 * time.Second); !slices.Contains(strings.Fields(got), "substrate-"+name); got = m.output("ip", "netns", "list") {
				if time.Now().After(end) {
					t.Fatalf("ip netns list: %q lacks substrate-%s", got, name)
				}
			}
			if got := m.output("ip", "netns", "exec", "substrate-"+name, "nft", "list", "tables"); got != "table inet substrate_"+name+"\n" {
				t.Errorf("tables of the world: %q", got)
			}
		}
		if got := m.output("nft", "list", "ruleset"); got != rules {
			t.Errorf("the host's rules: %q, were %q", got, rules)
		}
		if got := m.finish(m.substrate("world", "gc")); got.status != 0 || got.stdout != "nothing left over\n" {
			t.Errorf("gc beside a living world: %+v", got)
		}
		r.ended()
		if _, err := os.Stat(group); group != "" && !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", group, err)
		}
		if got := m.output("ip", "netns", "list"); got != "" {
			t.Errorf("ip netns list after the end: %q", got)
		}
		if got := m.output("nft", "list", "ruleset"); got != rules {
			t.Errorf("the host's rules after the end: %q, were %q", got, rules)
		}
		if worlds := m.listed(); len(worlds) != 0 {
			t.Errorf("world list after the end: %+v", worlds)
		}
		m.emptyRoots()
	})
}

// WLD1, WLD2, NET3: a replay, as root and as a user without any capability, covers the whole
// machine and names the peer that it could not reach.
func TestShowWholeMachine(t *testing.T) {
	withProgram(t, func(t *testing.T, m *machine) {
		m.prime()
		// Recorded in a world, so that its files do not exist when it is replayed.
		const script = `echo a > ~/a; echo b > /tmp/b; echo c > ../tree/c; exec 2> /dev/null; : > /dev/tcp/192.0.2.1/4711; echo $?`
		if got := m.finish(m.substrate("world", "run", "-c", script)); got.stdout != "1\n" {
			t.Fatalf("recorded: %+v", got)
		}
		span := m.lastSpan()
		m.mute = append(m.mute, m.home+"/.substrate")
		unchanged := m.watch()
		got := m.finish(m.substrate("--replay", span, "--world", "--require-world"))
		for _, line := range []string{"  + " + m.home + "/a\n", "  + /tmp/b\n", "  + c\n", "192.0.2.1:4711"} {
			if !strings.Contains(got.stderr, line) {
				t.Errorf("the report lacks %q: %s", line, got.stderr)
			}
		}
		lines := m.spans("command_complete")
		last := lines[len(lines)-1]
		scopes := fmt.Sprint(last["scopes_used"])
		for _, scope := range []string{"fs.write:" + m.home + "/a", "fs.write:/tmp/b", "fs.write:" + m.tree + "/c", "net.block:192.0.2.1:4711/tcp"} {
			if !strings.Contains(scopes, scope) {
				t.Errorf("scopes_used is %s, lacks %s", scopes, scope)
			}
		}
		if last["fs_strategy"] != "overlay" || last["replay_of"] != span || got.stdout != "1\n" {
			t.Errorf("strategy %v, replay of %v, printed %q", last["fs_strategy"], last["replay_of"], got.stdout)
		}
		unchanged()
		m.emptyRoots()
	})
}

// cgroupOf checks that the cgroup of a world has processes, and returns its directory; "" where
// there are no cgroups.
func (m *machine) cgroupOf(name string) string {
	m.t.Helper()
	parent, err := cgroup.Parent(true)
	if err != nil {
		m.t.Logf("no cgroups: %v", err)
		return ""
	}
	dir := filepath.Join(parent, name)
	if got, err := os.ReadFile(dir + "/cgroup.procs"); err != nil || len(bytes.Fields(got)) == 0 {
		m.t.Errorf("cgroup.procs of the world holds %q, %v", got, err)
	}
	return dir
}

// emptyRoots checks that no world has left its state or its upper in the roots of the program.
func (m *machine) emptyRoots() {
	m.t.Helper()
	m.dirs.Run[0] = "/run/substrate"
	if m.uid != 0 {
		m.dirs.Run[0] = fmt.Sprintf("/run/user/%d/substrate", m.uid)
	}
	if _, err := os.Stat(m.dirs.Run[0] + "/worlds"); err != nil {
		m.t.Errorf("no world was ever here: %v", err)
	}
	m.nothingLeft()
}

// WLD8, WLD11: list shows living worlds; gc leaves them alone and removes a dead one.
func TestShowListAndGC(t *testing.T) {
	withProgram(t, func(t *testing.T, m *machine) {
		span := m.recordWaiting()
		testenv.Leaks(t, "/run/netns")
		replays := []*longReplay{m.startReplay(span), m.startReplay(span), m.startReplay(span)}
		pids := map[int]bool{}
		var names []string
		for _, w := range m.listed() {
			pids[w.PID], names = w.Alive, append(names, w.Name)
		}
		if want := []string{span, span + "_2", span + "_3"}; !slices.Equal(names, want) {
			t.Errorf("the worlds of three replays are called %q, want %q", names, want)
		}
		if len(pids) != 3 || !pids[replays[0].cmd.Process.Pid] || !pids[replays[1].cmd.Process.Pid] || !pids[replays[2].cmd.Process.Pid] {
			t.Errorf("world list has processes %v, want those of three replays", pids)
		}
		victim := replays[1]
		must(t, victim.cmd.Process.Kill())
		_ = victim.cmd.Wait()
		victim.timer.Stop()
		must(t, victim.stdin.Close())
		m.await("the dead world's init process to end", func() bool {
			return slices.ContainsFunc(m.listed(), func(w state.Listed) bool { return !w.Alive && w.PID == victim.cmd.Process.Pid })
		})
		if got := m.finish(m.substrate("world", "gc", "--dry-run")); got.status != 0 || strings.Count(got.stdout, "would remove ") != 1 {
			t.Errorf("gc --dry-run: %+v", got)
		}
		if got := m.finish(m.substrate("world", "gc")); got.status != 0 || strings.Count(got.stdout, "removed ") != 1 || strings.Count(got.stdout, "\n") != 1 {
			t.Errorf("gc: %+v", got)
		}
		if worlds := m.listed(); len(worlds) != 2 || !worlds[0].Alive || !worlds[1].Alive {
			t.Errorf("world list after gc: %+v", worlds)
		}
		replays[0].ended()
		replays[2].ended()
		m.emptyRoots()
	})
}

// WLD8: list names what a killed world of any strategy left, gc --dry-run reports it, and gc
// removes it.
func TestShowGCOfStrategies(t *testing.T) {
	withProgram(t, func(t *testing.T, m *machine) {
		m.prime()
		testenv.Leaks(t, "/run/netns")
		table := m.finish(m.substrate("world", "doctor")).stdout
		for _, strategy := range []string{"overlay", "fuse", "copy-diff"} {
			if a := answerOf(table, strategy); a != "PASS" {
				t.Logf("no %s for uid %d here", strategy, m.uid)
				continue
			}
			m.killWorld(strategy)
			dry := m.finish(m.substrate("world", "gc", "--dry-run", "--json"))
			if dry.status != 0 || !strings.HasPrefix(dry.stdout, `{"dry_run":true,"worlds":[{`) || strings.Contains(dry.stdout, `"removed"`) {
				t.Errorf("%s: gc --dry-run: %+v", strategy, dry)
			}
			if list := m.listed(); len(list) != 1 || list[0].Alive || list[0].Strategy != strategy || len(list[0].Objects) == 0 {
				t.Errorf("%s: world list after gc --dry-run: %+v", strategy, list)
			}
			done := m.finish(m.substrate("world", "gc", "--json"))
			if done.status != 0 || strings.Count(done.stdout, `"removed":true`) != 1 {
				t.Errorf("%s: gc: %+v", strategy, done)
			}
			if got := m.finish(m.substrate("world", "gc")); got.status != 0 || got.stdout != "nothing left over\n" {
				t.Errorf("%s: the second gc: %+v", strategy, got)
			}
		}
		m.emptyRoots()
	})
}

// answerOf is the status of a strategy in the doctor's table.
func answerOf(table, strategy string) string {
	for line := range strings.Lines(table) {
		if words := strings.Fields(line); words[1] == strategy {
			return words[0]
		}
	}
	return ""
}

// killWorld starts a world, kills its supervisor, and returns when no process of the world is
// alive.
func (m *machine) killWorld(strategy string) {
	m.t.Helper()
	cmd := m.substrate("world", "run", "--strategy", strategy, "-c", "echo x > made; echo ready; exec sleep 1000")
	pipe, err := cmd.StdoutPipe()
	must(m.t, err)
	must(m.t, cmd.Start())
	timer := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	if line, err := bufio.NewReader(pipe).ReadString('\n'); line != "ready\n" {
		m.t.Fatalf("the world with %s says %q, %v", strategy, line, err)
	}
	must(m.t, cmd.Process.Kill())
	_ = cmd.Wait()
	m.await("the dead world's init process to end", func() bool {
		list := m.listed()
		return len(list) == 1 && !list[0].Alive
	})
}

// await waits until done returns true, at most as long as patience.
func (m *machine) await(what string, done func() bool) {
	m.t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			m.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// WLD10: 24 replays of one span at the same time do not disturb each other.
func TestShowParallelReplays(t *testing.T) {
	const jobs = 24
	withProgram(t, func(t *testing.T, m *machine) {
		m.prime()
		m.write(m.tree+"/gone", "x")
		if got := m.finish(m.substrate("-c", `echo out; echo err >&2; mkdir made && echo data > made/file; rm gone; exit 3`)); got.status != 3 {
			t.Fatalf("recorded: %+v", got)
		}
		span := m.lastSpan()
		must(t, os.RemoveAll(m.tree+"/made"))
		m.write(m.tree+"/gone", "x")
		before := m.files()
		testenv.Leaks(t, "/run/netns")
		results := make([]ran, jobs)
		var wg sync.WaitGroup
		for i := range jobs {
			wg.Go(func() { results[i] = m.finish(m.substrate("--replay", span, "--world")) })
		}
		wg.Wait()
		for i := range results {
			// Another one may have ended before.
			results[i].stderr = strings.Replace(results[i].stderr, "; previous replay: same", "", 1)
		}
		const report = "Exit code: 3\nFilesystem changes:\n  - gone\n  + made\n  + made/file\nVerdict: "
		for _, got := range results {
			if got.status != 3 || got.stdout != "out\n" || !strings.HasPrefix(got.stderr, "err\n") || !strings.Contains(got.stderr, report) || got.stderr != results[0].stderr {
				t.Errorf("a replay of %d: %+v", jobs, got)
			}
		}
		m.replaysRecorded(span, jobs)
		after := m.files()
		for path, was := range before {
			if after[path] != was && !strings.HasPrefix(path, m.home+"/.substrate") {
				t.Errorf("%s on the host: %s, was %s", path, after[path], was)
			}
		}
		if worlds := m.listed(); len(worlds) != 0 {
			t.Errorf("world list after the end: %+v", worlds)
		}
		m.emptyRoots()
	})
}

// replaysRecorded checks that the trace has so many complete replays of span, each in its own
// world.
func (m *machine) replaysRecorded(span string, want int) {
	m.t.Helper()
	worlds := map[any]bool{}
	for _, line := range m.spans("command_complete") {
		if line["replay_of"] != span {
			continue
		}
		worlds[line["world_id"]] = true
		diff, _ := line["fs_diff"].(map[string]any)
		if entries, _ := diff["entries"].([]any); line["exit"] != 3.0 || len(entries) != 3 {
			m.t.Errorf("a replay was recorded with exit %v and diff %v", line["exit"], diff)
		}
	}
	if len(worlds) != want {
		m.t.Errorf("the trace has %d worlds, want %d", len(worlds), want)
	}
}

// WLD7, REC9: without a home and another place for the store, a world works and keeps its changes
// in /var/tmp.
func TestShowNoHome(t *testing.T) {
	withProgram(t, func(t *testing.T, m *machine) {
		if m.uid == 0 {
			return // root has a home in any case, and it is not the test's to write in
		}
		m.tmpfs("/var/tmp", "mode=1777")
		t.Cleanup(func() { _ = unix.Unmount("/var/tmp", unix.MNT_DETACH) })
		for _, home := range []string{"", "HOME=/nonexistent", "HOME=relative"} {
			cmd := m.substrate("world", "run", "-c", "echo out; echo x > new; exit 3")
			cmd.Env = []string{"PATH=/usr/bin:/bin", "SHELL=/bin/bash", home}
			got := m.finish(cmd)
			if got.status != 3 || got.stdout != "out\n" || !strings.Contains(got.stderr, "Exit code: 3\nFilesystem changes:\n  + new\n") {
				t.Errorf("world run with %q: %+v", home, got)
			}
			if strings.Count(got.stderr, "substrate: ") > 1 {
				t.Errorf("more than one warning with %q: %s", home, got.stderr)
			}
		}
		m.dirs.Overlay = []string{fmt.Sprintf("/var/tmp/substrate-%d/overlay", m.uid)}
		if _, err := os.Stat(m.dirs.Overlay[0]); err != nil {
			t.Errorf("the changes were not there: %v", err)
		}
		m.emptyRoots()
	})
}

// WLD7, REC4: without a place for the state of a world the exit status is 125, with the reason, and
// nothing is run.
func TestShowNoRunRoot(t *testing.T) {
	withProgram(t, func(t *testing.T, m *machine) {
		span := m.recordWaiting()
		for _, dir := range []string{"/tmp", "/run"} {
			must(t, unix.Mount("none", dir, "tmpfs", unix.MS_RDONLY, ""))
		}
		unchanged := m.watchTree()
		for _, args := range [][]string{{"world", "run", "-c", "echo ran"}, {"--replay", span, "--world"}} {
			got := m.finish(m.substrate(args...))
			if got.status != 125 || got.stdout != "" || !strings.HasPrefix(got.stderr, "substrate: error: ") || !strings.Contains(got.stderr, "read-only file system") {
				t.Errorf("substrate %q: %+v", args, got)
			}
		}
		unchanged()
	})
}

// watchTree records the state of the tree; the returned function checks that it is the same.
func (m *machine) watchTree() func() {
	before := m.files()
	return func() {
		m.t.Helper()
		after := m.files()
		for path := range before {
			if strings.HasPrefix(path, m.tree) && after[path] != before[path] {
				m.t.Errorf("%s on the host: %s, was %s", path, after[path], before[path])
			}
		}
	}
}
