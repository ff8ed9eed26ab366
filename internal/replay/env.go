package replay

import (
	"sort"
	"strings"

	"substrate/internal/environ"
	"substrate/internal/plain"
	"substrate/trace"
)

// environment is the environment of a replay: the recorded values of the kept variables, and what
// the user asks for by name. Everything else is cleared, above all credentials. For a span of
// another program, which recorded no environment, those of the caller are used.
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
	// Shells keep the logical working directory only if PWD is right.
	env["PWD"] = span.Cwd
	add(env, o.Env, o.Environ)
	return fromMap(env)
}

// isPassed reports whether a replay gets the variable from its span (RPL3). Any name may begin with
// LC_, even that of a credential.
func isPassed(name string) bool { return plain.IsKept(name) && !isSecret(name) }

// isSecret reports whether a variable holds or leads to credentials, judging by its name.
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

// Inherit returns the environment of a new command in a world: that of the caller, without the
// credentials that RPL3 names, unless extra (the values of --env) names them.
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

// add adds the variables of --env to env: NAME with its value in own, NAME=VALUE as it is.
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

// fromMap returns the pairs in a fixed order, so that two replays get the same bytes.
func fromMap(m map[string]string) []string {
	out := make([]string, 0, len(m))
	for name, value := range m {
		out = append(out, name+"="+value)
	}
	sort.Strings(out)
	return out
}
