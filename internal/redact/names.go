package redact

import "strings"

// rank is how likely a name makes it that its value is a secret.
type rank int

const (
	innocent rank = iota
	weak          // the value decides
	strong        // is a secret
	header        // is a secret, and the value goes to the end of the line
)

// nameByte reports whether c can stand in the name of a variable, a flag, a setting or a header.
func nameByte(c byte) bool { return word(c) || c == '.' }

// names finds the values of secret-looking names: NAME=value, --name=value, Name: value,
// "name": "value".
func (f *finder) names() {
	s := f.s
	for i := 0; i < len(s); {
		if !nameByte(s[i]) {
			i++
			continue
		}
		j := run(s, i, nameByte)
		f.assigned(i, j)
		i = j
	}
}

// assigned adds the value that is assigned to the name s[i:j], if any.
func (f *finder) assigned(i, j int) {
	s := f.s
	k, colon, spaced, ok := separator(s, j)
	if !ok || i > 0 && (s[i-1] == '$' || s[i-1] == '{' && i > 1 && s[i-2] == '$') {
		return
	}
	r := rankOf(s[i:j])
	if pwd := isPwd(s[i:j]); pwd && pathLike(s[k:]) {
		return
	} else if pwd && connection(s, i, j) {
		r = strong
	}
	if r == innocent || !HintsOf(s[i:k]).MayHold() || spaced && r == weak || colon && strings.EqualFold(s[i:j], "pass") { // ok, pass: 3
		return
	}
	if r == header && colon {
		f.headerValue(i, k)
		return
	}
	if f.word && i == 0 { // all that follows is the value
		f.accept(r, k, len(s))
		return
	}
	from, to := value(s, i, k, colon)
	if colon && (to-from < 3 || ordinary(s[from:to])) {
		return
	}
	f.accept(r, from, to)
}

// separator returns where the value begins that a = or a colon after byte j assigns.
func separator(s string, j int) (k int, colon, spaced, ok bool) {
	k = j
	for k < len(s) && (s[k] == '"' || s[k] == '\'' || s[k] == '\\') { // the end of a key in JSON
		k++
	}
	quoted := k > j
	for k < len(s) && s[k] == ' ' && k-j < 3 {
		k++
		spaced = true
	}
	if k >= len(s) || s[k] != '=' && s[k] != ':' || spaced && !quoted && (s[k] != '=' || k+1 < len(s) && s[k+1] != ' ') {
		return 0, false, false, false
	}
	colon = s[k] == ':'
	if quoted && !colon && !strings.HasPrefix(s[k:], "=>") {
		return 0, false, false, false
	}
	k++
	if k < len(s) && (s[k] == '=' && !colon || s[k] == ':' || colon && strings.HasPrefix(s[k:], "//")) {
		return 0, false, false, false // a comparison, a scope, a URL
	}
	if k < len(s) && (colon && s[k] == '=' || !colon && s[k] == '>') {
		k++
	}
	if colon || spaced {
		k = run(s, k, blank)
	}
	return k, colon, spaced, true
}

// isPwd reports whether name is pwd, which means a password or the working directory.
func isPwd(name string) bool { return strings.EqualFold(strings.TrimLeft(name, "-"), "pwd") }

// pathLike reports whether v begins like the path of a directory.
func pathLike(v string) bool { return v != "" && strings.IndexByte("/.~", v[0]) >= 0 }

// connection reports whether s[i:j] stands among the settings of a connection to a database.
func connection(s string, i, j int) bool {
	const around = 300
	near := strings.ToLower(s[max(0, i-around):min(len(s), j+around)])
	if strings.IndexByte(near, ';') < 0 {
		return false
	}
	for _, setting := range []string{"server=", "uid=", "user id=", "data source=", "dsn=", "driver="} {
		if strings.Contains(near, setting) {
			return true
		}
	}
	return false
}

func blank(c byte) bool { return c == ' ' || c == '\t' }

// value returns the bounds of the value at k. Its name begins at i.
func value(s string, i, k int, colon bool) (from, to int) {
	if q := quoteAt(s, k); q != "" {
		if end := closing(s, k+len(q), q); end >= 0 {
			return k + len(q), end
		}
	}
	if q := quoteBefore(s, i); colon && q != "" { // the quotes hold the name as well, as those of a header do
		if end := closing(s, k, q); end >= 0 {
			return k, end
		}
	}
	for to = k; to < len(s); to++ {
		switch s[to] {
		case ' ', '\t', '\n', '\r', ';', '&', '|', '(', ')', '<', '>', '`':
			return k, to
		case ',', '}', ']':
			if colon {
				return k, to
			}
		case '\\':
			if to+1 < len(s) && (s[to+1] == '"' || s[to+1] == '\'' || s[to+1] == 'n') {
				return k, to
			}
			to++
		case '"', '\'':
			end := closing(s, to+1, s[to:to+1])
			if to+1 >= len(s) || !wordGoesOn(s[to+1]) || end < 0 {
				return k, to
			}
			to = end
		}
	}
	return k, min(to, len(s))
}

// wordGoesOn reports whether c, after a quote, belongs to the same word, so that the quote opened a
// part of it.
func wordGoesOn(c byte) bool {
	return c > ' ' && strings.IndexByte(";&|)<>`,\"'}]", c) < 0
}

// quoteAt is the quote that opens at k, "" if none does.
func quoteAt(s string, k int) string {
	for _, q := range []string{`\"`, `\'`, `"`, `'`, `$'`} {
		if strings.HasPrefix(s[k:], q) {
			return q
		}
	}
	return ""
}

// quoteBefore is the quote that stands before byte i, "" if none does.
func quoteBefore(s string, i int) string {
	if i == 0 || s[i-1] != '"' && s[i-1] != '\'' {
		return ""
	}
	if i > 1 && s[i-2] == '\\' {
		return s[i-2 : i]
	}
	return s[i-1 : i]
}

// closing is the place of the quote that ends what q opened; -1 if there is none.
func closing(s string, k int, q string) int {
	for i := k; i < len(s); i++ {
		if q[0] == '\\' && strings.HasPrefix(s[i:], q) {
			return i
		}
		switch {
		case s[i] == '\\' && q != "'":
			i++
		case q[0] != '\\' && s[i] == q[len(q)-1]:
			return i
		case q[0] == '\\' && s[i] == q[1]:
			return i
		}
	}
	return -1
}

// headerValue adds the value of a header, without the scheme that it may begin with.
func (f *finder) headerValue(i, k int) {
	s := f.s
	to := len(s)
	q := quoteBefore(s, i)
	if at := quoteAt(s, k); at != "" {
		q, k = at, k+len(at)
	}
	if end := -1; q != "" {
		if end = closing(s, k, q); end >= 0 {
			to = end
		}
	}
	if n := strings.IndexAny(s[k:to], "\r\n"); n >= 0 {
		to = k + n
	}
	if q == "" && !f.word {
		if n := strings.IndexAny(s[k:to], `"'`); n >= 0 {
			to = k + n
		}
	}
	if scheme := run(s[:to], k, word); scheme > k && scheme < to && s[scheme] == ' ' {
		k = run(s[:to], scheme, blank)
	}
	f.accept(strong, k, to)
}

// accept adds the value s[from:to] of a name of rank r, unless it holds no secret.
func (f *finder) accept(r rank, from, to int) {
	v := f.s[from:to]
	if v == "" || len(v) == 1 && digit(v[0]) || reference(v) || strings.HasPrefix(v, open) && placeholderEnd(v, 0) == len(v) {
		return
	}
	if rest, ok := strings.CutPrefix(v, "pass:"); ok && rest != "" { // openssl
		f.add(from+len("pass:"), to)
		return
	}
	if r == weak && !entropic(v) {
		return
	}
	f.add(from, to)
}

// reference reports whether v only names the place of a secret, or stands for no value.
func reference(v string) bool {
	if len(v) > 1 && (v[0] == '"' || v[0] == '\'') {
		v = v[1:]
	}
	switch v[0] {
	case '$':
		return len(v) == 1 || letter(v[1]) || strings.IndexByte("{(_", v[1]) >= 0
	case '`', '<', '*', '.':
		return v[0] != '.' || strings.Trim(v, ".") == ""
	case '%', '{':
		return len(v) == 2 || strings.HasPrefix(v, "{{") || strings.HasPrefix(v, "%{") || strings.HasPrefix(v, "%(")
	}
	for _, p := range []string{"env:", "file:", "fd:", "stdin", "/dev/", "@/", "@.", "id=", "type=", "src=", "xxxx", "…"} {
		if strings.HasPrefix(v, p) {
			return true
		}
	}
	switch strings.ToLower(v) {
	case "true", "false", "null", "nil", "none", "yes", "no", "on", "off", "undefined", "string", "required", "optional", "auto", "never", "always", "-", "'", `"`:
		return true
	}
	return false
}

// ordinary reports whether v is a word that follows a colon in a sentence.
func ordinary(v string) bool {
	switch strings.ToLower(strings.Trim(v, `.,!"'`)) {
	case "the", "and", "not", "for", "was", "must", "should", "invalid", "incorrect", "missing", "expired", "failed", "error", "wrong", "unknown":
		return true
	}
	return false
}

// maxName is the length of the longest name that is looked at.
const maxName = 80

// rankOf returns the rank of a name. Dashes, dots, underscores and changes of case separate its
// parts.
func rankOf(name string) rank {
	if strings.HasPrefix(name, "--") && isPwd(name) {
		return strong
	}
	name = strings.Trim(name, "-.")
	if name == "" || len(name) > maxName {
		return innocent
	}
	var buf [maxName]byte
	flat := flatten(buf[:0], name)
	last := lastPart(name)
	r := rankOfParts(flat, last)
	if r == innocent || about(last) || boolean(name) || quantity(name) || strings.HasSuffix(string(flat), "askpass") {
		return innocent
	}
	return r
}

// flatten appends name to dst in lower case and without what separates its parts.
func flatten(dst []byte, name string) []byte {
	for i := range len(name) {
		switch c := name[i]; {
		case c == '-' || c == '_' || c == '.':
		case c >= 'A' && c <= 'Z':
			dst = append(dst, c|0x20)
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// rankOfParts judges a flattened name, and its last part.
func rankOfParts(flat []byte, last string) rank {
	switch string(flat) {
	case "authorization", "proxyauthorization", "cookie", "setcookie":
		return header
	case "pwd", "oldpwd", "bypass", "compass":
		return innocent
	}
	for i := range flat {
		if promises(flat[i:]) {
			return strong
		}
	}
	switch last {
	case "pass", "pwd", "psk":
		return strong
	case "key", "pat", "auth", "sig", "signature", "jwt":
		return weak
	}
	if strings.HasSuffix(string(flat), "pass") && !strings.HasSuffix(string(flat), "bypass") {
		return strong
	}
	return innocent
}

// promises reports whether rest begins with a word for a secret.
func promises(rest []byte) bool {
	switch rest[0] {
	case 'p':
		return begins(rest, "password") || begins(rest, "passwd") || begins(rest, "passphrase") || begins(rest, "privatekey") || begins(rest, "passin") || begins(rest, "passout")
	case 's':
		return begins(rest, "secret") || begins(rest, "sharedaccess") || begins(rest, "signingkey")
	case 't':
		return begins(rest, "token")
	case 'a':
		return begins(rest, "apikey") || begins(rest, "accesskey") || begins(rest, "authkey") || begins(rest, "accountkey") || begins(rest, "authorization")
	case 'c':
		return begins(rest, "credential") || begins(rest, "cookie")
	case 'b':
		return begins(rest, "bearer")
	case 'e':
		return begins(rest, "encryptionkey")
	case 'm':
		return begins(rest, "masterkey")
	}
	return false
}

func begins(b []byte, word string) bool { return len(b) >= len(word) && string(b[:len(word)]) == word }

// lastPart is the last part of a name, in lower case: of clientSecret and CLIENT_SECRET it is
// secret.
func lastPart(name string) string {
	i := len(name) - 1
	for i > 0 && name[i-1] != '-' && name[i-1] != '_' && name[i-1] != '.' &&
		!(name[i] >= 'A' && name[i] <= 'Z' && name[i-1] >= 'a' && name[i-1] <= 'z') {
		i--
	}
	return strings.ToLower(name[i:])
}

// about reports whether a name with this last part describes a secret and does not hold it.
func about(last string) bool {
	switch last {
	case "file", "path", "dir", "name", "id", "ids", "url", "uri", "host", "port", "type", "length", "len", "policy", "ttl", "expiry", "expires",
		"count", "enabled", "field", "regex", "pattern", "version", "stdin", "env", "cmd", "command", "ref", "arn", "alg", "algorithm", "min", "max",
		"size", "limit", "timeout", "user", "username", "store", "provider", "manager", "helper", "prompt", "hint", "format", "only", "mode", "fd",
		"tokens", "tokenizer", "jar", "endpoint", "audience", "scope", "scopes", "rotation", "class", "parallelism", "pass2", "age", "days", "suffix", "prefix":
		return true
	}
	return false
}

// boolean reports whether a name begins like one that takes no value, or a number.
func boolean(name string) bool {
	first, _, more := strings.Cut(strings.ReplaceAll(strings.ToLower(name), "_", "-"), "-")
	if !more {
		return false
	}
	for _, verb := range []string{"export", "list", "delete"} { // of gpg
		if first == verb && strings.HasPrefix(name[len(verb)+1:], "secret-") {
			return true
		}
	}
	switch first {
	case "no", "ask", "prompt", "require", "disable", "enable", "show", "skip", "use", "with", "without", "allow", "is", "has", "max", "min", "num", "n", "print", "verify", "check", "count":
		return true
	}
	return false
}

// quantity reports whether a name counts tokens, as tokens-per-batch does.
func quantity(name string) bool {
	name = strings.ReplaceAll(strings.ToLower(name), "_", "-")
	return strings.HasPrefix(name, "tokens-per-") || strings.Contains(name, "-tokens-per-")
}
