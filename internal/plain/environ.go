package plain

// Variables that substrate reads in the plain case, and those of its programs among each other.
const (
	VarHome         = "HOME"
	VarPath         = "PATH"
	VarShell        = "SHELL"
	VarMaxMB        = "TRACE_LOG_MAX_MB"
	VarKeep         = "TRACE_LOG_KEEP"
	VarSessionID    = "SHIM_SESSION_ID"
	VarParentSpan   = "SHIM_PARENT_SPAN"
	VarDepth        = "SHIM_DEPTH"
	VarCaller       = "SHIM_CALLER"
	VarCallStack    = "SHIM_CALL_STACK"
	VarOriginalPath = "SHIM_ORIGINAL_PATH"
	VarBypass       = "SHIM_BYPASS"
	VarTraceLog     = "SHIM_TRACE_LOG"
	VarAgentID      = "SUBSTRATE_AGENT_ID"
	VarLog          = "SUBSTRATE_LOG"
	VarNoShims      = "SUBSTRATE_NO_SHIMS"
	VarWorld        = "SUBSTRATE_WORLD" // older scripts set it; it changes nothing
	VarInWorld      = "SUBSTRATE_IN_WORLD"
	VarUseWorld     = "SUBSTRATE_REPLAY_USE_WORLD"
	VarRequireWorld = "SUBSTRATE_REQUIRE_WORLD"
)

// What the names of our variables begin with.
const (
	ShimVariables      = "SHIM_"
	SubstrateVariables = "SUBSTRATE_"
)

// IsExported reports whether a variable is one by which a command finds its parent (REC8). Each
// command gets new values, so a span does not hold them.
func IsExported(name string) bool {
	switch name {
	case VarSessionID, VarParentSpan, VarDepth, VarCaller, VarCallStack:
		return true
	}
	return false
}

// Exports are the variables that IsExported names, with their values for the command of a span.
func Exports(sessionID, spanID, depth, caller, callStack string) [5]Pair {
	return [...]Pair{{VarSessionID, sessionID}, {VarParentSpan, spanID}, {VarDepth, depth}, {VarCaller, caller}, {VarCallStack, callStack}}
}

// IsKept reports whether a span holds the value of a variable, because a replay sets it (RPL3). Of
// all others a span holds a hash.
func IsKept(name string) bool {
	switch name {
	case VarPath, VarHome, VarShell, "USER", "LOGNAME", "LANG", "TERM", "TZ", "RUST_LOG", VarLog:
		return true
	}
	return Begins(name, "LC_")
}

// HashDigits appends what a span holds of the value of a variable, enough to show that it changed:
// the first 16 hex digits of its SHA-256. A short secret could be found from that by trying, so
// with secret there are only two digits. They show 255 of 256 changes and at most 8 bits of it.
func (b *Buffer) HashDigits(value string, secret bool) *Buffer {
	if secret {
		return b.Hex(Hash(value)>>56, 2)
	}
	return b.Hex(Hash(value), 16)
}

// Switch reads the value of a variable that is off unless it is switched on. valid is false for a
// value that means neither.
func Switch(value string) (on, valid bool) {
	switch value {
	case "1", "true":
		return true, true
	case "", "0", "false", "off", "no":
		return false, true
	}
	return false, false
}

// IsToken reports whether s is a plain word, so that it can be an id: ids become parts of names and
// of other programs' environments.
func IsToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isLetterOrDigit(c) && Index("_-.:", c) < 0 {
			return false
		}
	}
	return len(s) <= MaxTokenLength
}

// LastNames returns the last n of the names in a call stack. The names are separated by "/", which
// no name contains.
func LastNames(stack string, n int) string {
	for i := len(stack) - 1; i >= 0; i-- {
		if stack[i] == '/' {
			if n--; n == 0 {
				return stack[i+1:]
			}
		}
	}
	return stack
}

// ShimsFirst returns path, the value of PATH, without dir, the directory of the shims, and appends
// to first path with dir in front. It may use rest for that. ok is false, and original is path, if
// dir cannot stand in front: it is "", path is empty (a shell without PATH has a default, which one
// entry would replace), or dir has a colon. Other entries keep their order, also empty ones, which
// mean the working directory.
//
// Source: SHM7; POSIX.1-2017 XBD, 8.3, PATH.
func ShimsFirst(path, dir string, first, rest *Buffer) (original string, ok bool) {
	if dir == "" || path == "" || Index(dir, ':') >= 0 {
		return path, false
	}
	first.Raw(dir)
	if !Contains(path, dir) { // nearly always
		first.Byte(':').Raw(path)
		return path, true
	}
	rest.Reset(0)
	kept := 0
	for from := 0; from <= len(path); {
		entry, next := Part(path, from, ':')
		from = next
		if entry != "" && Same(Trimmed(entry), dir) {
			continue
		}
		if kept > 0 {
			rest.Byte(':')
		}
		rest.Raw(entry)
		kept++
	}
	if kept > 0 { // else the colon would add the working directory
		first.Byte(':').Raw(rest.String())
	}
	return rest.String(), true
}
