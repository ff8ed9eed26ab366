package config

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"substrate/internal/plain"
)

// caller is what Load learns from the system, besides the environment.
type caller struct {
	uid, gid int
	root     bool
	cwd      func() (string, error)
	home     func(uid int) string   // from the user database
	isSelf   func(path string) bool // whether this file is our own program
}

// vars are the variables that have a meaning here.
type vars map[string]string

// Load reads environ, which has the form of [os.Environ]. Invalid values count as not set; Problems
// has those of settings.
func Load(environ []string) Config {
	uid := os.Geteuid()
	return load(environ, caller{
		uid: uid, gid: os.Getegid(), root: uid == 0 && hasRootCapabilities() && inFirstUserns(),
		cwd: os.Getwd, home: passwdHome, isSelf: isSelf,
	})
}

// load is Load for a given caller.
func load(environ []string, who caller) Config {
	v := pick(environ)
	s := settings{vars: v}
	c := Config{
		UID: who.uid, GID: who.gid, Root: who.root,
		Fsync:   s.flag("SHIM_FSYNC"),
		MaxMB:   s.count(plain.VarMaxMB, plain.DefaultMaxMB),
		Keep:    s.count(plain.VarKeep, 3),
		AgentID: v.text(plain.VarAgentID, plain.DefaultAgent),

		SessionID:  v.token(plain.VarSessionID),
		ParentSpan: v.token(plain.VarParentSpan),
		Depth:      v.number(plain.VarDepth, 0),
		Caller:     v.text(plain.VarCaller, ""),
		CallStack:  SplitCallStack(v[plain.VarCallStack]),

		NoShims:      s.flag(plain.VarNoShims),
		Path:         v[plain.VarPath],
		OriginalPath: v[plain.VarOriginalPath],
		Bypass:       s.flag(plain.VarBypass),

		InWorld:      v.isTrue(plain.VarInWorld),
		UseWorld:     s.flag(plain.VarUseWorld),
		RequireWorld: s.flag(plain.VarRequireWorld),
		Strategy:     v["SUBSTRATE_WORLD_STRATEGY"],
		DiffMax:      s.count("SUBSTRATE_FS_DIFF_MAX", 10000),
		WorldMax:     s.count("SUBSTRATE_WORLD_MAX", 2*runtime.NumCPU()),
		NoRedact:     s.switchedOff("SUBSTRATE_REDACT"),
		Capture:      s.flag("SUBSTRATE_CAPTURE"),
		CaptureMax:   int64(s.count("SUBSTRATE_CAPTURE_MAX", 64<<10)),
		Log:          v[plain.VarLog],
	}
	c.Problems = s.problems
	c.Home = v[plain.VarHome]
	if c.Home == "" {
		c.Home = who.home(who.uid)
	}
	c.Shell = shell(v[plain.VarShell], c.Depth, who.isSelf)
	c.place(v[plain.VarTraceLog], who.cwd)
	c.Bus = userBus(v, who.uid)
	c.RunRoots = runRoots(v, who)
	c.RunRoot = c.RunRoots[0]
	c.OverlayRoots = overlayRoots(v, who, c.Home, c.RunRoots)
	if dir := v["SUBSTRATE_OVERLAY_ROOT"]; dir != "" {
		c.OverlayRoots = []string{absolute(dir, who.cwd)}
	}
	return c
}

// place sets Dir, Trace and ShimDir. A relative name in SHIM_TRACE_LOG is taken from the
// current directory.
func (c *Config) place(log string, cwd func() (string, error)) {
	if filepath.IsAbs(c.Home) {
		c.Dir = filepath.Join(c.Home, plain.Dir)
		c.Trace = filepath.Join(c.Dir, plain.TraceName)
		c.ShimDir = filepath.Join(c.Dir, plain.ShimsName)
	}
	if log != "" {
		log = absolute(log, cwd)
		c.Trace = log
		if c.Dir == "" {
			c.Dir = filepath.Dir(log)
		}
	}
}

// shell is the shell that commands are given to unless --shell names one.
func shell(env string, depth int, isSelf func(string) bool) string {
	if env == "" || depth >= plain.MaxDepth || isSelf(env) {
		return plain.DefaultShell
	}
	return env
}

// runRoots lists the candidates for the run-time root.
//
// Source: WLD6, WLD7. Uid 0 without capabilities gets root's paths if it can write them, otherwise
// those of a user.
func runRoots(v vars, who caller) []string {
	var roots []string
	if who.uid == 0 {
		roots = append(roots, "/run/substrate")
		if who.root {
			return roots
		}
	}
	uid := strconv.Itoa(who.uid)
	if dir := v["XDG_RUNTIME_DIR"]; filepath.IsAbs(dir) {
		roots = append(roots, filepath.Join(dir, "substrate"))
	}
	return appendNew(roots, "/run/user/"+uid+"/substrate", "/tmp/substrate-"+uid)
}

// userBus returns where the user's systemd may listen: on the bus in their run-time directory, or
// on the one that the environment names.
//
// Source: D-Bus specification, "Server Addresses"; pam_systemd(8), XDG_RUNTIME_DIR.
func userBus(v vars, uid int) string {
	dir := v["XDG_RUNTIME_DIR"]
	if !filepath.IsAbs(dir) || strings.ContainsAny(dir, ";,%= ") {
		dir = "/run/user/" + strconv.Itoa(uid)
	}
	bus := "unix:path=" + dir + "/bus"
	if named := v["DBUS_SESSION_BUS_ADDRESS"]; strings.HasPrefix(named, "unix:") && !strings.Contains(named, ";") && named != bus {
		bus += ";" + named
	}
	return bus
}

// absolute returns path relative to the current directory, or unchanged if there is none.
func absolute(path string, cwd func() (string, error)) string {
	if !filepath.IsAbs(path) {
		if dir, err := cwd(); err == nil {
			return filepath.Join(dir, path)
		}
	}
	return filepath.Clean(path)
}

// overlayRoots returns the directories below which uppers may lie unless SUBSTRATE_OVERLAY_ROOT is
// set.
//
// Source: WLD6, WLD7.
func overlayRoots(v vars, who caller, home string, run []string) []string {
	var roots []string
	if who.uid == 0 {
		roots = append(roots, "/var/lib/substrate/overlay")
	}
	if !who.root {
		if dir := v["XDG_STATE_HOME"]; filepath.IsAbs(dir) {
			roots = append(roots, filepath.Join(dir, "substrate", "overlay"))
		} else if filepath.IsAbs(home) {
			roots = append(roots, filepath.Join(home, ".local/state/substrate/overlay"))
		}
	}
	roots = append(roots, "/var/tmp/substrate-"+strconv.Itoa(who.uid)+"/overlay")
	for _, dir := range run {
		roots = append(roots, filepath.Join(dir, "overlay"))
	}
	return roots
}

// appendNew appends those of more that are not in list.
func appendNew(list []string, more ...string) []string {
next:
	for _, s := range more {
		for _, have := range list {
			if have == s {
				continue next
			}
		}
		list = append(list, s)
	}
	return list
}

// pick returns the variables that are read here. If a name stands there twice the first counts, as
// in getenv(3).
func pick(environ []string) vars {
	v := make(vars, 16)
	for _, entry := range environ {
		name, value, ok := strings.Cut(entry, "=")
		if !ok || !ours(name) {
			continue
		}
		if _, twice := v[name]; !twice {
			v[name] = value
		}
	}
	return v
}

// ours reports whether a variable of this name can have a meaning for us.
func ours(name string) bool {
	switch name {
	case plain.VarHome, plain.VarPath, plain.VarShell, "XDG_RUNTIME_DIR", "XDG_STATE_HOME", "DBUS_SESSION_BUS_ADDRESS", plain.VarMaxMB, plain.VarKeep:
		return true
	}
	return strings.HasPrefix(name, plain.ShimVariables) || strings.HasPrefix(name, plain.SubstrateVariables)
}

// isTrue reports whether the variable switches something on.
func (v vars) isTrue(name string) bool {
	on, _ := plain.Switch(v[name])
	return on
}

// text returns the value of a variable, or otherwise if it is empty.
func (v vars) text(name, otherwise string) string {
	if s := v[name]; s != "" {
		return s
	}
	return otherwise
}

// number returns the value of a variable if it is a number from 0 on, or otherwise.
func (v vars) number(name string, otherwise int) int {
	n, err := strconv.Atoi(v[name])
	if err != nil || n < 0 {
		return otherwise
	}
	return n
}

// token is the value of a variable that must be a plain word, because it is an id that
// becomes a part of names and of other programs' environments.
func (v vars) token(name string) string {
	if s := v[name]; plain.IsToken(s) {
		return s
	}
	return ""
}

// SplitCallStack reads the form in which SHIM_CALL_STACK holds the names of commands, the
// outermost first: separated by "/", which no name contains.
func SplitCallStack(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(plain.LastNames(s, plain.MaxCallStack), "/")
}

// JoinCallStack gives the form that [SplitCallStack] reads.
func JoinCallStack(names []string) string {
	return strings.Join(names[max(0, len(names)-plain.MaxCallStack):], "/")
}
