package replay

import (
	"sort"
	"strings"

	"substrate/trace"
)

// passed are the variables that a replay gets from its span (RPL3); LC_* come on top.
var passed = []string{
	"PATH", "HOME", "SHELL", "USER", "LOGNAME", "LANG", "TERM", "TZ", "RUST_LOG", "SUBSTRATE_LOG",
}

// environment computes what a replay sees: the recorded values of the passed
// variables and what the caller asks for by name. Everything else is cleared, above
// all the credentials of clouds and agents. A span that recorded no environment
// gets the passed variables from the caller's.
func environment(span trace.Record, o Options) []string {
	env := map[string]string{}
	recorded := span.Env
	if recorded == nil {
		recorded = toMap(o.Environ)
	}
	for name, value := range recorded {
		if isPassed(name) {
			env[name] = value
		}
	}
	// PWD is not a choice but a fact: shells keep a logical cwd only if it is right.
	env["PWD"] = span.Cwd
	own := toMap(o.Environ)
	for _, e := range o.Env {
		name, value, given := strings.Cut(e, "=")
		if !given {
			v, set := own[name]
			if !set {
				continue
			}
			value = v
		}
		env[name] = value
	}
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

// isSecret says whether a name looks like a credential.
func isSecret(name string) bool {
	return strings.HasSuffix(name, "_TOKEN") || strings.Contains(name, "_SECRET") ||
		strings.HasSuffix(name, "_API_KEY") || strings.HasSuffix(name, "_PASSWORD")
}

// toMap reads NAME=VALUE pairs; of two with the same name the first counts, as in getenv(3).
func toMap(environ []string) map[string]string {
	m := make(map[string]string, len(environ))
	for _, e := range environ {
		name, value, ok := strings.Cut(e, "=")
		if _, dup := m[name]; ok && !dup {
			m[name] = value
		}
	}
	return m
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
