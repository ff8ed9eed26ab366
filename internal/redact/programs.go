package redact

import (
	"path"
	"strings"
)

// flags are the short flags by which a program takes a password.
type flags struct {
	letters  string // any of these
	takes    string // other letters with a value, which end a cluster
	attached bool   // only as -pVALUE; -p alone asks for it
	after    byte   // only what stands after this byte is secret, as in user:password; 0 for all
	login    bool   // only after the word login
	cookies  string // letters of which only what stands after an = is secret, as in name=value
	word     string // a flag that is a word, with one dash
	logon    bool   // the first word that is no flag is user/password@host
}

// flagsOf returns how a program takes a password; ok is false if it is not known to take one.
func flagsOf(program string) (f flags, ok bool) {
	base := path.Base(program)
	switch base {
	case "mysql", "mariadb", "mysqldump", "mariadb-dump", "mysqladmin", "mariadb-admin", "mysqlimport", "mysqlshow", "mysqlcheck", "mycli":
		return flags{letters: "p", takes: "uhPSDe", attached: true}, true
	case "curl":
		return flags{letters: "uUE", takes: "odHXAecFTxmwKryYzCDPQt", after: ':', cookies: "b"}, true
	case "http", "https", "xh":
		return flags{letters: "a", after: ':'}, true
	case "sshpass":
		return flags{letters: "p", takes: "fdPe"}, true
	case "redis-cli":
		return flags{letters: "a", takes: "hpnusr"}, true
	case "mongo", "mongosh", "mongodump", "mongorestore", "mongoexport", "mongoimport":
		return flags{letters: "p", takes: "uhdc"}, true
	case "smbclient":
		return flags{letters: "U", takes: "WIpc", after: '%'}, true
	case "lftp", "ncftp", "lftpget":
		return flags{letters: "u", takes: "pec", after: ','}, true
	case "zip", "unzip":
		return flags{letters: "P"}, true
	case "7z", "7za", "7zr", "7zz", "rar", "unrar":
		return flags{letters: "p", attached: true}, true
	case "sqlcmd", "bcp", "mosquitto_pub", "mosquitto_sub", "mosquitto_rr":
		return flags{letters: "P", takes: "SUdQihmptqu"}, true
	case "sqlplus":
		return flags{logon: true}, true
	case "ssh-keygen":
		return flags{letters: "NP", takes: "abCDEeFfGIJjKMmnOrsTtVwWYZz"}, true
	case "plink", "pscp", "psftp":
		return flags{word: "-pw"}, true
	case "openssl":
		return flags{letters: "kK"}, true
	case "docker", "podman", "buildah", "nerdctl", "helm", "oras", "crane", "skopeo", "az", "oc", "cf", "ibmcloud", "faas-cli", "regctl":
		return flags{letters: "p", takes: "u", login: true}, true
	}
	switch {
	case strings.HasPrefix(base, "ldap"):
		return flags{letters: "w", takes: "HDbhps"}, true
	case strings.HasPrefix(base, "snmp"):
		return flags{letters: "AXc", takes: "vlua"}, true
	}
	return flags{}, false
}

// token is one word of a command. Its secrets are added to the finder of its string.
type token struct {
	text     string // without quotes
	from, to int    // in that string, without the quotes around all of it
	in       *finder
}

// maxDepth limits how deep quotes within quotes are searched for commands.
const maxDepth = 8

// commands cuts s[from:to] into simple commands, and looks at each. It knows quotes and what
// separates commands, and takes the rest as it comes.
func (f *finder) commands(from, to, depth int) {
	if f.word && !strings.ContainsAny(f.s, " \t\n") || depth > maxDepth {
		return
	}
	var tokens []token
	var pipe pipeline
	for i := from; i < to; {
		switch c := f.s[i]; {
		case c == ' ' || c == '\t' || c == '\r' || c == '\\' && i+1 < to && f.s[i+1] == '\n':
			i++
			if c == '\\' {
				i++
			}
		case strings.IndexByte("\n;|&()<>`", c) >= 0:
			if c != '<' && c != '>' {
				pipe.command(tokens, c)
				tokens = tokens[:0]
			}
			i++
		default:
			end := f.wordEnd(i, to, depth)
			tokens = append(tokens, f.token(i, end))
			i = end
		}
	}
	pipe.command(tokens, 0)
}

// pipeline holds what an echo or printf at the head of a pipe writes: its last word.
type pipeline struct{ said token }

// command looks at a command that ends at the separator sep. If it reads a secret from its input,
// what was said to it is one.
func (p *pipeline) command(tokens []token, sep byte) {
	command(tokens)
	if readsSecret(tokens) {
		if p.said.in != nil {
			p.said.secret(0, 0)
		}
		for _, t := range tokens {
			if t.hereString() {
				t.secret(0, 0)
			}
		}
	}
	switch {
	case sep != '|' || len(tokens) == 0:
		p.said = token{}
	case len(tokens) > 1 && (tokens[0].text == "echo" || tokens[0].text == "printf"):
		p.said = tokens[len(tokens)-1]
	}
}

// readsSecret reports whether a command takes a password or a token from its input.
func readsSecret(tokens []token) bool {
	for _, t := range tokens {
		if t.plain() && (t.text == "--password-stdin" || t.text == "--with-token") {
			return true
		}
	}
	return false
}

// hereString reports whether t stands after <<<.
func (t token) hereString() bool {
	return strings.HasSuffix(strings.TrimRight(t.in.s[:t.from], " \t\"'"), "<<<")
}

// plain reports whether t was written without quotes, but for those around all of it.
func (t token) plain() bool { return t.in.s[t.from:t.to] == t.text }

// wordEnd is where the word that begins at i ends. What is quoted in it is looked at as commands.
func (f *finder) wordEnd(i, to, depth int) int {
	for i < to {
		switch c := f.s[i]; c {
		case ' ', '\t', '\r', '\n', ';', '|', '&', '(', ')', '<', '>', '`':
			return i
		case '\\':
			i = min(i+2, to)
		case '"', '\'':
			end := closing(f.s[:to], i+1, f.s[i:i+1])
			if end < 0 { // an apostrophe
				i++
				continue
			}
			if strings.ContainsAny(f.s[i+1:end], " \t\n") {
				f.commands(i+1, end, depth+1)
			}
			i = end + 1
		default:
			i++
		}
	}
	return i
}

// token makes a token of the word s[from:to].
func (f *finder) token(from, to int) token {
	raw := f.s[from:to]
	if q := quoteAt(f.s, from); q != "" && len(raw) > 2*len(q)-1 && closing(f.s[:to], from+len(q), q) == to-1 && q[0] != '\\' {
		return token{text: raw[len(q) : len(raw)-1], from: from + len(q), to: to - 1, in: f}
	}
	return token{text: unquoted(raw), from: from, to: to, in: f}
}

// unquoted takes quotes and backslashes away.
func unquoted(raw string) string {
	if strings.IndexByte(raw, '"') < 0 && strings.IndexByte(raw, '\'') < 0 && strings.IndexByte(raw, '\\') < 0 {
		return raw
	}
	text := make([]byte, 0, len(raw))
	for i := range len(raw) {
		if c := raw[i]; c != '"' && c != '\'' && c != '\\' {
			text = append(text, c)
		}
	}
	return string(text)
}

// command looks at the words of one simple command.
func command(tokens []token) {
	var program flags
	known, login, users := false, false, false
	for i, t := range tokens {
		plain := t.plain()
		if f, ok := flagsOf(t.text); ok && plain {
			program, known = f, true
			continue
		}
		switch base := path.Base(t.text); {
		case base == "login" && plain:
			login = true
			if i > 0 && tokens[i-1].plain() && path.Base(tokens[i-1].text) == "vault" {
				vaultLogin(tokens[i+1:])
			}
		case base == "htpasswd":
			users = true
		case strings.HasPrefix(t.text, "/p:") && strings.Contains(tokens[0].text, "freerdp"):
			t.secret(3, 0)
		case len(t.text) > 1 && t.text[0] == '-':
			if !(plain && t.long(program, tokens[i+1:])) && known && (login || !program.login) {
				program.find(t, tokens[i+1:])
			}
			if users && strings.Contains(t.text, "b") && t.text[1] != '-' && len(tokens) > i+2 {
				tokens[len(tokens)-1].secret(0, 0)
			}
		case program.logon:
			t.logon()
			program.logon = false
		case plain:
			t.bare(tokens[i+1:])
		}
	}
}

// vaultLogin looks at what follows the words vault login: a token, unless another method is named.
func vaultLogin(rest []token) {
	for _, t := range rest {
		if strings.HasPrefix(strings.TrimLeft(t.text, "-"), "method") && t.text[0] == '-' {
			return
		}
	}
	const digits = 2 // of a redirection, as in 2>f
	for _, t := range rest {
		if t.text == "" || t.text[0] == '-' {
			continue
		}
		if len(t.text) > digits && strings.IndexByte(t.text, '=') < 0 {
			t.secret(0, 0)
		}
		return
	}
}

// logon takes the password of user/password@host, where the user and @host may be missing.
func (t token) logon() {
	s := t.in.s[t.from:t.to]
	n := strings.IndexByte(s, '/')
	if n <= 0 || strings.IndexByte(s[:n], '@') >= 0 {
		return
	}
	from, to := n+1, strings.LastIndexByte(s, '@')
	if to < from {
		to = len(s)
	}
	if from < to && !reference(s[from:to]) {
		t.in.add(t.from+from, t.from+to)
	}
}

// long looks at a long flag with its value in the next word, and reports whether t is one.
func (t token) long(program flags, rest []token) bool {
	name := strings.TrimLeft(t.text, "-")
	switch {
	case len(name) < 2 || strings.IndexByte(name, '=') >= 0:
		name, value, _ := strings.Cut(t.text, "=")
		if program.after == ':' && pair(name) && value != "" {
			t.secret(len(name)+1, ':')
		}
		return false
	case len(rest) == 0:
		return false
	}
	if t.text == program.word {
		rest[0].secret(0, 0)
		return true
	}
	if program.after == ':' && pair(t.text) {
		rest[0].secret(0, ':')
		return true
	}
	r := rankOf(t.text)
	if r == innocent || !HintsOf(t.text).MayHold() || t.text[1] != '-' && len(name) < 4 {
		return false
	}
	if v := rest[0].text; v == "" || isPwd(t.text) && pathLike(v) || v[0] == '-' && len(v) < 16 || r == header && strings.IndexByte(v, '=') < 0 {
		return r != innocent // no value, or the name of a file with cookies
	}
	rest[0].in.accept(min(r, strong), rest[0].from, rest[0].to)
	return true
}

// pair reports whether the value of a long flag is a user, a colon, and a password.
func pair(flag string) bool {
	return flag == "--user" || flag == "--cert" || flag == "--proxy-cert" || flag == "--proxy-user" || flag == "--auth"
}

// bare looks at a word that is no flag. It says what the next is if that looks made by chance:
// `configure set aws_secret_access_key …`, `authtoken …`, or, in a file of logins, `password …`.
func (t token) bare(rest []token) {
	if n := strings.LastIndex(t.text, ":_"); n > 0 && len(rest) > 0 && strings.HasPrefix(t.text, "//") { // a setting of npm
		if name := t.text[n+1:]; rankOf(name) != innocent && HintsOf(name).MayHold() {
			rest[0].in.accept(strong, rest[0].from, rest[0].to)
		}
		return
	}
	if len(rest) == 0 || rankOf(t.text) < strong || !HintsOf(t.text).MayHold() || strings.IndexByte(t.text, '=') >= 0 || strings.IndexByte(t.text, ':') >= 0 {
		return
	}
	if entropic(rest[0].text) || t.text == "password" && len(rest) == 1 && rest[0].text != "" && strings.Contains(t.in.s, "login") {
		rest[0].secret(0, 0)
	}
}

// find looks at a short flag, or a cluster of them.
func (p flags) find(t token, rest []token) {
	if t.text[1] == '-' {
		return
	}
	for j := 1; j < len(t.text); j++ {
		c := t.text[j]
		if strings.IndexByte(p.cookies, c) >= 0 {
			p.letters, p.after = p.cookies, '='
		}
		switch {
		case strings.IndexByte(p.letters, c) >= 0 && j+1 < len(t.text):
			t.secret(j+1, p.after)
			return
		case strings.IndexByte(p.letters, c) >= 0:
			if !p.attached && t.in.s[t.from:t.to] == t.text && len(rest) > 0 && rest[0].text != "" && rest[0].text[0] != '-' {
				rest[0].secret(0, p.after)
			}
			return
		case !letter(c) && !digit(c) || strings.IndexByte(p.takes, c) >= 0:
			return
		}
	}
}

// secret adds what follows the first skip bytes of t, and there the byte after, if that is not 0.
func (t token) secret(skip int, after byte) {
	s := t.in.s
	if skip > t.to-t.from || s[t.from:t.from+skip] != t.text[:skip] { // quotes in the midst of the flag: nobody writes that
		return
	}
	from, to := t.from+skip, t.to
	if q := quoteAt(s[:to], from); !t.in.word && q != "" && to-from > 2*len(q) && closing(s[:to], from+len(q), q) == to-1 {
		from, to = from+len(q), to-1
	}
	if after != 0 {
		n := strings.IndexByte(s[from:to], after)
		if n < 0 {
			return
		}
		from += n + 1
	}
	if from < to && !reference(s[from:to]) {
		t.in.add(from, to)
	}
}
