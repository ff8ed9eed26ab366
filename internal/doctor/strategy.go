package doctor

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"substrate/internal/probe"
	"substrate/internal/world"
	"substrate/internal/world/cgroup"
)

// direct is the strategy without isolation.
const direct = "direct"

// askStrategies tries each strategy with package world, which makes worlds to find out. It then
// looks at network and limits in a world with the best one.
func askStrategies(h Host) finding {
	answers := world.Ask(world.Host{Dirs: h.Dirs, Root: h.Root})
	choice := world.Choose(answers)
	var rows []Row
	ok := map[string]bool{}
	for i := range answers {
		a := &answers[i]
		if a.Strategy == direct {
			continue
		}
		ok[a.Strategy] = a.OK()
		rows = append(rows, strategyRow(a))
	}
	rows = append(rows, choiceRow(choice))
	t := newTrial(h, choice.Strategy)
	rows = append(rows, t.rows()...)
	return finding{rows: rows, set: func(r *Report) {
		r.Strategy, r.OK = choice.Strategy, ok["overlay"] || ok["fuse"]
		r.OverlayMountOK, r.Fuse.MountOK = ok["overlay"], ok["fuse"]
		for _, x := range choice.Rejected {
			r.Rejected = append(r.Rejected, Rejected(x))
		}
		r.Nft.Kernel, r.Nflog = t.ok("nft"), t.seen
		r.Cgroup.Missing = append(r.Cgroup.Missing, t.controllers...)
	}}
}

// strategyRow reports whether a strategy works.
func strategyRow(a *world.Answer) Row {
	if a.OK() {
		return Row{a.Strategy, Pass, "works: wrote a file in a world and found it among the changes", ""}
	}
	status := Warn
	if a.Strategy == "overlay" {
		status = Fail
	}
	x := a.Rejected()
	return Row{a.Strategy, status, x.Reason, x.Remedy}
}

// choiceRow is the strategy that a replay would get, and why none of the better ones.
func choiceRow(c world.Choice) Row {
	row := Row{"strategy", Pass, "worlds use " + c.Strategy, ""}
	var missing []string
	for _, x := range c.Rejected {
		missing = append(missing, x.Strategy)
		if row.Fix == "" {
			row.Fix = x.Remedy
		}
	}
	if len(missing) > 0 {
		row.Detail += " (unavailable: " + strings.Join(missing, ", ") + ")"
	}
	switch c.Strategy {
	case direct:
		row.Status = Fail
		row.Detail += ": commands run on the host, without isolation"
	case "copy-diff":
		row.Status = Warn
		row.Detail += ": only the working directory is isolated"
	default:
		row.Fix = ""
	}
	return row
}

// trial is a world with the strategy that a replay would get, and what was seen in it.
type trial struct {
	strategy    string
	err         error // why there was no world
	steps       map[string]world.Step
	tried, seen bool     // the command called out; the attempt was reported
	controllers []string // that the world's cgroup has not
	groupRemedy string   // if it has none
}

// callOut sends to an address that nobody has, but only from within the network of a world.
//
// Source: RFC 5737 for the address.
const callOut = `[[ $(</proc/net/fib_trie) == *10.250.0.1* ]] || exit 9; exec 3<>/dev/udp/192.0.2.1/9; echo >&3; exit 0`

const unreachable = "192.0.2.1:9/udp"

// trialTime limits the command of the trial.
const trialTime = 10 * time.Second

// newTrial makes a world, runs callOut in it, and removes it. It makes none for direct, where the
// packet would leave the machine.
func newTrial(h Host, strategy string) *trial {
	t := &trial{strategy: strategy, steps: map[string]world.Step{}}
	if strategy == direct {
		t.err = errors.New("no world could be made")
		return t
	}
	_, err := cgroup.Parent(h.Root)
	t.groupRemedy = remedyOf(err)
	t.err = t.run(h)
	return t
}

func (t *trial) run(h Host) (err error) {
	cwd, err := os.MkdirTemp("", "substrate-doctor-")
	if err != nil {
		return fmt.Errorf("make a directory for the trial: %w", err)
	}
	defer func() { err = errors.Join(err, os.Remove(cwd)) }()
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails, see crypto/rand
	w, err := world.New(world.Spec{
		Name: "doctor_" + hex.EncodeToString(id[:]), Dirs: h.Dirs, Root: h.Root, Bus: h.Bus, Strategy: t.strategy, Cwd: cwd,
		Observe: func(s world.Step) { t.steps[s.Name] = s },
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	res, err := w.Run(world.Command{Path: "/bin/bash", Argv: []string{"bash", "-c", callOut}, Dir: "/", Umask: 0o22, Timeout: trialTime})
	if err != nil {
		return err
	}
	t.tried = res.ExecErr == nil && res.Exit != 9
	for _, e := range res.Blocked {
		t.seen = t.seen || e.String() == unreachable
	}
	for _, d := range res.Degraded {
		if c, ok := strings.CutPrefix(d.Name, "cgroup."); ok {
			t.controllers = append(t.controllers, c)
		}
	}
	return nil
}

// ok reports whether a step of the trial succeeded.
func (t *trial) ok(step string) bool { return t.err == nil && t.steps[step].OK }

// rows are the results of the trial.
func (t *trial) rows() []Row {
	if t.err != nil {
		return []Row{{"network", Warn, "not tried: " + t.err.Error(), ""}, {"limits", Warn, "not tried: " + t.err.Error(), ""}}
	}
	rows := []Row{t.network()}
	switch {
	case rows[0].Status != Pass:
		rows = append(rows, Row{"nf_tables", Warn, "not tried: without a network namespace of its own a world installs no rules", rows[0].Fix})
	case !t.ok("nft"):
		rows = append(rows, Row{"nf_tables", Warn, "no rules could be installed in a world" + t.because("nft"), "modprobe -a nf_tables nft_log nft_reject_inet nft_ct nft_limit"})
	case t.seen:
		rows = append(rows, Row{"nf_tables", Pass, "rules were installed in a world", ""}, Row{"nflog", Pass, "a blocked attempt was reported", ""})
	case !t.tried:
		rows = append(rows, Row{"nf_tables", Pass, "rules were installed in a world", ""}, Row{"nflog", Warn, "not tried: /bin/bash is missing", ""})
	default:
		rows = append(rows, Row{"nf_tables", Pass, "rules were installed in a world", ""}, Row{"nflog", Warn, "a blocked attempt was not reported", "modprobe -a nfnetlink_log nft_log"})
	}
	return append(rows, t.limits())
}

func (t *trial) network() Row {
	if t.ok("netns") || t.ok("nft") {
		return Row{"network", Pass, "a world has a network namespace of its own", ""}
	}
	return Row{"network", Warn, "a world shares the network of the host" + t.because("netns"), "allow user namespaces, or run as root with CAP_NET_ADMIN"}
}

// limits reports whether worlds are measured and can be limited.
func (t *trial) limits() Row {
	switch {
	case !t.ok("cgroup"):
		return Row{"limits", Warn, "worlds have no cgroup: --memory, --pids and --cpus do nothing, and nothing is measured" + t.because("cgroup"), t.groupRemedy}
	case len(t.controllers) > 0:
		return Row{
			"limits", Warn, "the cgroup of a world lacks the controllers " + strings.Join(t.controllers, ", ") + ": --memory, --pids and --cpus may do nothing",
			"boot with systemd.unified_cgroup_hierarchy=1 to give them to cgroup v2, and delegate them to users",
		}
	}
	return Row{"limits", Pass, "the cgroup of a world has the controllers pids, cpu and memory", ""}
}

// because is the reason why a step failed, as the end of a sentence.
func (t *trial) because(step string) string {
	if s, ok := t.steps[step]; ok && !s.OK {
		return ": " + s.Detail
	}
	return ""
}

// remedyOf is the remedy of an error; "" if it has none.
func remedyOf(err error) string {
	var known *probe.Error
	if errors.As(err, &known) {
		return known.Remedy
	}
	return ""
}
