package prestart

import "substrate/internal/redact"

// maxVars is the number of variables that an environment may have here.
const maxVars = 512

// variable is one entry of the environment.
type variable struct{ name, value string }

// environ is what the environment says, as far as it is known here.
type environ struct {
	home, path, original, shell, pwd, agent string
	session, parent, caller, stack, log     string
	depth                                   int64
	maxSize                                 int64 // of the trace, in bytes, as TRACE_LOG_MAX_MB says; 0 if it does not
	bypass, inWorld, noShims                bool

	n, outN    int // lengths of the lists
	pathAt     int // where PATH stands in out
	originalAt int // where SHIM_ORIGINAL_PATH stands in out

	order [maxVars]uint16    // of the names
	out   [maxVars + 8]*byte // for the program: the entries as they are, those of REC8 left out
	vars  [maxVars]variable
}

// read takes the environment. It says no if a variable is set that only the ordinary
// route understands, or anything else is unusual.
func (e *environ) read(list **byte) bool {
	for i := 0; ; i++ {
		p := at(list, i)
		if p == nil {
			return true
		}
		if i == maxVars {
			return false
		}
		entry := text(p)
		equals := index(entry, '=')
		if equals <= 0 { // no variable, but it is handed on
			e.hand(p)
			continue
		}
		v := variable{entry[:equals], entry[equals+1:]}
		if !e.insert(v) || !e.note(v) {
			return false
		}
		if !exported(v.name) {
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

// putPath gives the program another PATH, and no SHIM_ORIGINAL_PATH.
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

// insert keeps the variables in the order of their names. A name that is there twice means
// different things to different programs.
func (e *environ) insert(v variable) bool {
	low, high := 0, e.n
	for low < high {
		mid := int(uint(low+high) >> 1)
		switch c := compare(e.sorted(mid).name, v.name); {
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
func (e *environ) sorted(i int) *variable { return &e.vars[e.order[i]%maxVars] }

// note keeps the variables that have a meaning here.
func (e *environ) note(v variable) bool {
	switch v.name {
	case "HOME":
		e.home = v.value
	case "PATH":
		e.path, e.pathAt = v.value, e.outN
	case "SHELL":
		e.shell = v.value
	case "PWD":
		e.pwd = v.value
	case "TRACE_LOG_MAX_MB":
		mb, ok := decimal(v.value)
		e.maxSize = mb << 20
		return ok && mb > 0
	case "TRACE_LOG_KEEP": // the ordinary route rotates; here only what makes no sense matters
		_, ok := decimal(v.value)
		return ok || v.value == ""
	default:
		if begins(v.name, "SHIM_") {
			return e.noteShim(v)
		}
		if begins(v.name, "SUBSTRATE_") {
			return e.noteSubstrate(v)
		}
	}
	return true
}

func (e *environ) noteShim(v variable) bool {
	switch v.name[len("SHIM_"):] { // short constants are compared without a call
	case "SESSION_ID":
		e.session = v.value
		return isToken(v.value)
	case "PARENT_SPAN":
		e.parent = v.value
		return isToken(v.value)
	case "DEPTH":
		depth, ok := decimal(v.value)
		e.depth = depth
		return ok
	case "CALLER":
		e.caller = v.value
	case "CALL_STACK":
		e.stack = v.value
	case "ORIGINAL_PATH":
		e.original, e.originalAt = v.value, e.outN
		return v.value != ""
	case "BYPASS":
		e.bypass = isTrue(v.value)
		return isFlag(v.value)
	case "TRACE_LOG":
		e.log = v.value
		return isClean(v.value)
	default:
		return false
	}
	return true
}

func (e *environ) noteSubstrate(v variable) bool {
	switch v.name[len("SUBSTRATE_"):] {
	case "AGENT_ID":
		e.agent = v.value
	case "NO_SHIMS":
		e.noShims = isTrue(v.value)
		return isFlag(v.value)
	case "IN_WORLD":
		e.inWorld = isTrue(v.value)
	case "WORLD", "REPLAY_USE_WORLD", "REQUIRE_WORLD":
	default:
		return false
	}
	return true
}

// decimal is the number that s is in decimal digits, if it has no more than six.
func decimal(s string) (n int64, ok bool) {
	if s == "" || len(s) > 6 {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n, true
}

// exported says whether a variable is one by which a command finds its parent (REC8).
//
// Source: package record.
func exported(name string) bool {
	switch name {
	case "SHIM_SESSION_ID", "SHIM_PARENT_SPAN", "SHIM_DEPTH", "SHIM_CALLER", "SHIM_CALL_STACK":
		return true
	}
	return false
}

// byValue says whether a span holds the value of a variable.
//
// Source: RPL3; package record.
func byValue(name string) bool {
	switch name {
	case "PATH", "HOME", "SHELL", "USER", "LOGNAME", "LANG", "TERM", "TZ", "RUST_LOG", "SUBSTRATE_LOG":
		return true
	}
	return begins(name, "LC_")
}

// describe appends the two members of a span that hold the environment. original is PATH
// as the span has it. A word of argv that holds what may be a secret of the environment is odd.
func (e *environ) describe(l *line, original string, argv **byte, argc int) {
	values, hashes := 0, 0
	for i := range e.n {
		v := e.sorted(i)
		if !byValue(v.name) {
			continue
		}
		value := v.value
		if v.name == "PATH" {
			value = original
		}
		if redact.MayHold(value) {
			l.odd = true
		}
		l.raw(members(values, `,"env":{`))
		l.text(v.name)
		l.byte(':')
		l.text(value)
		values++
	}
	l.raw(closing(values))
	for i := range e.n {
		v := e.sorted(i)
		if byValue(v.name) || exported(v.name) || same(v.name, "SHIM_ORIGINAL_PATH") {
			continue
		}
		l.raw(members(hashes, `,"env_hashes":{`))
		l.text(v.name)
		l.raw(`:"`)
		if hash := shortHash(v.value); redact.SecretName(v.name) {
			l.hex(hash>>56, 2)
			if holds(argv, argc, v.value) {
				l.odd = true
			}
		} else {
			l.hex(hash, 16)
		}
		l.byte('"')
		hashes++
	}
	l.raw(closing(hashes))
}

// holds says whether a word of argv holds value, and that is long enough to be told from an ordinary word.
//
// Source: package redact, Variables.
func holds(argv **byte, argc int, value string) bool {
	const short = 8
	if len(value) < short {
		return false
	}
	for i := range argc {
		if contains(text(at(argv, i)), value) {
			return true
		}
	}
	return false
}

// members is what stands in front of the member n of an object.
func members(n int, first string) string {
	if n == 0 {
		return first
	}
	return ","
}

// closing ends an object, if there is one.
func closing(n int) string {
	if n == 0 {
		return ""
	}
	return "}"
}

// shimsFirst gives PATH without dir, which may need the buffer rest, and puts PATH with dir first into
// the buffer first, if that is not nil. It says no if there is nothing to put first.
//
// Source: config.ShimsFirst.
func shimsFirst(path, dir string, first, rest *cstring) (string, bool) {
	if dir == "" || path == "" || index(dir, ':') >= 0 {
		return path, false
	}
	original, kept := path, 1
	if contains(path, dir) {
		kept = withoutDir(path, dir, rest)
		original = rest.String()
	}
	if first != nil {
		first.add(dir)
		if kept > 0 { // else the colon would add the working directory
			first.add(":").add(original)
		}
	}
	return original, true
}

// withoutDir puts the list path without the entries that are dir into buf, and says how many entries are left.
func withoutDir(path, dir string, buf *cstring) (kept int) {
	buf.reset()
	for begin := 0; begin <= len(path); {
		end := begin
		for end < len(path) && path[end] != ':' {
			end++
		}
		entry := path[begin:end]
		begin = end + 1
		if entry != "" && same(trimSlashes(entry), dir) {
			continue
		}
		if kept > 0 {
			buf.add(":")
		}
		buf.add(entry)
		kept++
	}
	return kept
}

func trimSlashes(s string) string {
	for s != "" && s[len(s)-1] == '/' {
		s = s[:len(s)-1]
	}
	return s
}

// isClean says whether path is absolute and has no part that is empty, "." or "..", so that it is the
// same after filepath.Clean.
func isClean(path string) bool {
	if path == "" || path[0] != '/' || path[len(path)-1] == '/' {
		return false
	}
	for begin := 1; begin <= len(path); {
		end := begin
		for end < len(path) && path[end] != '/' {
			end++
		}
		if part := path[begin:end]; part == "" || part == "." || part == ".." {
			return false
		}
		begin = end + 1
	}
	return true
}

// isToken says whether s is a plain word, as package config wants ids to be.
func isToken(s string) bool {
	if len(s) > 128 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !oneOf(c, "_-.:") {
			return false
		}
	}
	return true
}

func isTrue(s string) bool { return s == "1" || s == "true" }

// isFlag says whether s is a value that a switch may have. Of any other the user is told, on the ordinary route.
//
// Source: package config.
func isFlag(s string) bool {
	return s == "" || s == "0" || isTrue(s) || s == "no" || s == "off" || s == "false"
}

func begins(s, prefix string) bool { return len(s) >= len(prefix) && same(s[:len(prefix)], prefix) }

// same says whether two strings are equal. The operator would call into another part of the program.
func same(a, b string) bool { return len(a) == len(b) && compare(a, b) == 0 }

// compare is negative if a comes before b, 0 if they are equal.
func compare(a, b string) int {
	for i := 0; i < len(a) && i < len(b); i++ {
		if a[i] != b[i] {
			return int(a[i]) - int(b[i])
		}
	}
	return len(a) - len(b)
}

// index is where c first stands in s; -1 if it does not.
func index(s string, c byte) int {
	for i := range len(s) {
		if s[i] == c {
			return i
		}
	}
	return -1
}

func contains(s, part string) bool {
	for i := 0; i+len(part) <= len(s); i++ {
		if same(s[i:i+len(part)], part) {
			return true
		}
	}
	return false
}

// base is what follows the last slash.
func base(path string) string {
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == '/' {
			return path[i+1:]
		}
	}
	return path
}
