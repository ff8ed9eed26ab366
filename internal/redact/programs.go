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
}

// flagsOf says how a program takes a password; ok is false for one that is not known to.
func flagsOf(program string) (f flags, ok bool) {
	base := path.Base(program)
	switch base {
	case "mysql", "mariadb", "mysqldump", "mariadb-dump", "mysqladmin", "mariadb-admin", "mysqlimport", "mysqlshow", "mysqlcheck", "mycli":
		return flags{letters: "p", takes: "uhPSDe", attached: true}, true
	case "curl":
		return flags{letters: "uU", takes: "odHXAebcFTxmwEKryYzCDPQt", after: ':'}, true
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
	case "sqlcmd", "bcp":
		return flags{letters: "P", takes: "SUdQi"}, true
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

// token is one word of a command. Its secrets are noted in the finder of the string that it stands in.
type token struct {
	text     string // without quotes
	from, to int    // in that string, without the quotes around all of it
	in       *finder
}

// maxDepth is how many shells within quotes of each other are looked into.
const maxDepth = 8

// commands cuts s[from:to] into simple commands, and looks at each. It knows quotes and what separates
// commands, and takes the rest as it comes.
func (f *finder) commands(from, to, depth int) {
	if f.word && !strings.ContainsAny(f.s, " \t\n") || depth > maxDepth {
		return
	}
	var tokens []token
	for i := from; i < to; {
		switch c := f.s[i]; {
		case c == ' ' || c == '\t' || c == '\r' || c == '\\' && i+1 < to && f.s[i+1] == '\n':
			i++
			if c == '\\' {
				i++
			}
		case strings.IndexByte("\n;|&()<>`", c) >= 0:
			if c != '<' && c != '>' {
				command(tokens)
				tokens = tokens[:0]
			}
			i++
		default:
			end := f.wordEnd(i, to, depth)
			tokens = append(tokens, f.token(i, end))
			i = end
		}
	}
	command(tokens)
}

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
		plain := t.in.s[t.from:t.to] == t.text
		if f, ok := flagsOf(t.text); ok && plain {
			program, known = f, true
			continue
		}
		switch base := path.Base(t.text); {
		case base == "login":
			login = true
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
		case plain:
			t.bare(tokens[i+1:])
		}
	}
}

// long looks at a flag that is a word, with its value in the next one. It says whether that is what t is.
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
	if program.after == ':' && pair(t.text) {
		rest[0].secret(0, ':')
		return true
	}
	r := rankOf(name)
	if r == innocent || !HintsOf(name).MayHold() || t.text[1] != '-' && len(name) < 4 {
		return false
	}
	if v := rest[0].text; v == "" || v[0] == '-' && len(v) < 16 || r == header && strings.IndexByte(v, '=') < 0 {
		return r != innocent // no value, or the name of a file with cookies
	}
	rest[0].in.accept(min(r, strong), rest[0].from, rest[0].to)
	return true
}

// pair says whether the value of a long flag is a user, a colon, and a password.
func pair(flag string) bool {
	return flag == "--user" || flag == "--proxy-user" || flag == "--auth"
}

// bare looks at a word that is no flag. It says what the next is if that looks made by chance: `configure
// set aws_secret_access_key …`, `authtoken …`, or, in a file of logins, `password …`.
func (t token) bare(rest []token) {
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

// secret notes what follows the first skip bytes of t, and there the byte after, if that is not 0.
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
