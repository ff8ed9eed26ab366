package replay

import (
	"sort"
	"strings"

	"substrate/internal/environ"
	"substrate/trace"
)

// passed are the variables that a replay gets from its span (RPL3); LC_* come on top.
var passed = []string{
	"PATH", "HOME", "SHELL", "USER", "LOGNAME", "LANG", "TERM", "TZ", "RUST_LOG", "SUBSTRATE_LOG",
}

// environment computes what a replay sees: the recorded values of the passed
// variables and what the caller asks for by name. Everything else is cleared, above
// all the credentials of clouds and agents. A span of another program, which recorded
// no environment, gets the passed variables of the caller.
func environment(span trace.Record, o Options) []string {
	env := map[string]string{}
	recorded := span.Env
	if recorded == nil && foreign(span) {
		recorded = environ.List(o.Environ).Map()
	}
	for name, value := range recorded {
		if isPassed(name) {
			env[name] = value
		}
	}
	// PWD is not a choice but a fact: shells keep a logical cwd only if it is right.
	env["PWD"] = span.Cwd
	add(env, o.Env, o.Environ)
	return fromMap(env)
}

// isPassed says whether RPL3 names the variable.
func isPassed(name string) bool {
	if strings.HasPrefix(name, "LC_") {
		// LC_* is an open family: a credential must not get in by its prefix.
		return !isSecret(name)
	}
	for _, p := range passed {
		if name == p {
			return true
		}
	}
	return false
}

// isSecret says whether a variable holds, or leads to, credentials of clouds and agents.
func isSecret(name string) bool {
	switch name {
	case "SSH_AUTH_SOCK", "GPG_AGENT_INFO", "DBUS_SESSION_BUS_ADDRESS":
		return true
	}
	for _, prefix := range []string{"AWS_", "GCP_", "GOOGLE_", "AZURE_"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return strings.HasSuffix(name, "_TOKEN") || strings.Contains(name, "_SECRET") || strings.HasSuffix(name, "_API_KEY")
}

// Inherit computes the environment of a new command in a world: the caller's, without
// the credentials that RPL3 names unless extra, the values of --env, asks for them.
func Inherit(own, extra []string) []string {
	env := environ.List(own).Map()
	for name := range env {
		if isSecret(name) {
			delete(env, name)
		}
	}
	add(env, extra, own)
	return fromMap(env)
}

// add puts what --env asks for into env: NAME from own, NAME=VALUE as it is.
func add(env map[string]string, extra, own []string) {
	for _, e := range extra {
		name, value, given := strings.Cut(e, "=")
		if !given {
			var set bool
			if value, set = environ.List(own).Lookup(name); !set {
				continue
			}
		}
		env[name] = value
	}
}

// fromMap gives the pairs in a fixed order, so that two replays get the same bytes.
func fromMap(m map[string]string) []string {
	out := make([]string, 0, len(m))
	for name, value := range m {
		out = append(out, name+"="+value)
	}
	sort.Strings(out)
	return out
}
