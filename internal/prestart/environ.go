package prestart

import (
	"substrate/internal/plain"
	"substrate/internal/redact"
)

// maxVars is the number of variables that an environment may have here.
const maxVars = 512

// environ is what the environment says, as far as it is known here.
type environ struct {
	home, path, original, shell, pwd, agent string
	session, parent, caller, stack, log     string
	depth, maxMB                            int64
	bypass, inWorld, noShims                bool

	n, outN    int // lengths of the lists
	pathAt     int // where PATH stands in out
	originalAt int // where SHIM_ORIGINAL_PATH stands in out

	order [maxVars]uint16         // of the names
	out   [maxVars + 8]*byte      // for the program: the entries as they are, without those of REC8
	vars  [2 * maxVars]plain.Pair // and behind them those of the span
}

// read takes the environment. It returns false if a variable is set that only the ordinary route
// understands, or anything else is unusual.
func (e *environ) read(list **byte) bool {
	e.maxMB = plain.DefaultMaxMB
	for i := 0; ; i++ {
		p := at(list, i)
		if p == nil {
			return true
		}
		if i == maxVars {
			return false
		}
		entry := text(p)
		equals := plain.Index(entry, '=')
		if equals <= 0 { // not a variable, but the program gets it
			e.hand(p)
			continue
		}
		v := plain.Pair{Name: entry[:equals], Value: entry[equals+1:]}
		if !e.insert(v) || !e.note(v.Name, v.Value) {
			return false
		}
		if !plain.IsExported(v.Name) {
			e.hand(p)
		}
	}
}

// hand adds an entry to what the program gets.
func (e *environ) hand(p *byte) {
	if e.outN < len(e.out)-1 {
		e.out[e.outN] = p
		e.outN++
		e.out[e.outN] = nil
	}
}

// putPath returns the program another PATH, and no SHIM_ORIGINAL_PATH.
func (e *environ) putPath(entry *byte) {
	e.out[e.pathAt] = entry
	if e.original == "" {
		return
	}
	for i := e.originalAt; i < e.outN; i++ {
		e.out[i] = e.out[i+1]
	}
	e.outN--
}

// insert keeps the variables in the order of their names. It refuses a name that is there twice:
// programs do not agree on what that means.
func (e *environ) insert(v plain.Pair) bool {
	low, high := 0, e.n
	for low < high {
		mid := int(uint(low+high) >> 1)
		switch c := plain.Compare(e.sorted(mid).Name, v.Name); {
		case c == 0:
			return false
		case c < 0:
			low = mid + 1
		default:
			high = mid
		}
	}
	if e.n >= maxVars {
		return false
	}
	for i := e.n; i > low; i-- {
		e.order[i] = e.order[i-1]
	}
	e.order[low] = uint16(e.n)
	e.vars[e.n] = v
	e.n++
	return true
}

// sorted is the variable with the ith name.
func (e *environ) sorted(i int) *plain.Pair { return &e.vars[e.order[i]%maxVars] }

// note keeps the variables that have a meaning here. It returns false for those of ours that have
// one on the ordinary route only, and for values that the ordinary route warns about.
func (e *environ) note(name, value string) (ok bool) {
	switch name {
	case plain.VarHome:
		e.home = value
	case plain.VarPath:
		e.path, e.pathAt = value, e.outN
	case plain.VarShell:
		e.shell = value
	case "PWD":
		e.pwd = value
	case plain.VarMaxMB:
		e.maxMB, ok = count(value)
		return ok && e.maxMB > 0
	case plain.VarKeep: // only the ordinary route rotates
		_, ok = count(value)
		return ok || value == ""
	default:
		return !plain.Begins(name, plain.ShimVariables) && !plain.Begins(name, plain.SubstrateVariables) || e.noteOurs(name, value)
	}
	return true
}

// noteOurs is note for the variables that only substrate has.
func (e *environ) noteOurs(name, value string) (ok bool) {
	switch {
	case plain.Same(name, plain.VarSessionID):
		e.session = value
		return plain.IsToken(value)
	case plain.Same(name, plain.VarParentSpan):
		e.parent = value
		return plain.IsToken(value)
	case plain.Same(name, plain.VarDepth):
		e.depth, ok = count(value)
		return ok
	case plain.Same(name, plain.VarCaller):
		e.caller = value
	case plain.Same(name, plain.VarCallStack):
		e.stack = value
	case plain.Same(name, plain.VarOriginalPath):
		e.original, e.originalAt = value, e.outN
		return value != ""
	case plain.Same(name, plain.VarBypass):
		e.bypass, ok = plain.Switch(value)
		return ok
	case plain.Same(name, plain.VarTraceLog):
		e.log = value
		return isClean(value)
	case plain.Same(name, plain.VarAgentID):
		e.agent = value
	case plain.Same(name, plain.VarNoShims):
		e.noShims, ok = plain.Switch(value)
		return ok
	case plain.Same(name, plain.VarInWorld):
		e.inWorld, _ = plain.Switch(value)
	default: // one that older scripts set, and two about replays
		return plain.Same(name, plain.VarWorld) || plain.Same(name, plain.VarUseWorld) || plain.Same(name, plain.VarRequireWorld)
	}
	return true
}

// count is a number of at most six digits. The ordinary route deals with all others.
func count(s string) (n int64, ok bool) {
	n, ok = plain.Decimal(s)
	return n, ok && len(s) <= 6
}

// describe fills in the environment of a span. original is PATH as the span holds it; the hashes go
// to texts. It returns false if a word of argv holds what may be a secret of the environment.
func (e *environ) describe(s *plain.Start, original string, texts *plain.Buffer) bool {
	n := e.n
	for i := range e.n {
		if v := e.sorted(i); plain.IsKept(v.Name) {
			e.vars[n] = *v
			if plain.Same(v.Name, plain.VarPath) {
				e.vars[n].Value = original
			}
			n++
		}
	}
	kept := n
	for i := range e.n {
		v := *e.sorted(i)
		if !plain.IsKept(v.Name) && !plain.IsExported(v.Name) && !plain.Same(v.Name, plain.VarOriginalPath) {
			secret := redact.SecretName(v.Name)
			if secret && redact.Distinctive(v.Value) && (isIn(s.Argv, v.Value) || isIn(s.ShellArgs, v.Value)) {
				return false
			}
			from := len(texts.Bytes)
			v.Value = texts.HashDigits(v.Value, secret).String()[from:]
			e.vars[n] = v
			n++
		}
	}
	s.Env, s.EnvHashes = e.vars[e.n:kept], e.vars[kept:n]
	return true
}

// isIn reports whether one of words holds part.
func isIn(words []string, part string) bool {
	for _, w := range words {
		if plain.Contains(w, part) {
			return true
		}
	}
	return false
}

// isClean reports whether path is absolute and filepath.Clean would not change it.
func isClean(path string) bool {
	if path == "" || path[0] != '/' {
		return false
	}
	for from := 1; from <= len(path); {
		var part string
		part, from = plain.Part(path, from, '/')
		if part == "" || plain.Same(part, ".") || plain.Same(part, "..") {
			return false
		}
	}
	return true
}
