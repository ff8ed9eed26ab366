package redact

import "strings"

// shape is how a kind of token looks: a prefix, and then at least so many bytes of a set.
type shape struct {
	prefix string
	least  int
	set    func(byte) bool
}

// shapes are the tokens of well-known issuers by their first byte, as the issuers document them. It
// is laid out by the linker, so that it costs nothing at start.
var shapes = [128][]shape{
	'A': {{"AKIA", 16, upper}, {"ASIA", 16, upper}, {"ABIA", 16, upper}, {"ACCA", 16, upper}, {"AIza", 30, word}, {"ATATT3", 20, base64}, {"ATCTT3", 20, base64}, {"ATBB", 28, alnum}, {"AGE-SECRET-KEY-1", 50, upper}},
	'G': {{"GOCSPX-", 20, word}},
	'L': {{"LTAI", 12, alnum}},
	'N': {{"NRAK-", 20, alnum}},
	'P': {{"PMAK-", 20, word}},
	'S': {{"SG.", 30, dotted}},
	'd': {{"dop_v1_", 30, alnum}, {"doo_v1_", 30, alnum}, {"dor_v1_", 30, alnum}, {"dckr_pat_", 20, word}, {"dckr_oat_", 20, word}, {"dapi", 32, hex}, {"dp.pt.", 40, alnum}},
	'f': {{"figd_", 20, word}},
	'g': {
		{"ghp_", 20, alnum},
		{"gho_", 20, alnum},
		{"ghu_", 20, alnum},
		{"ghs_", 20, alnum},
		{"ghr_", 20, alnum},
		{"github_pat_", 20, word},
		{"glpat-", 16, dotted},
		{"gldt-", 16, word},
		{"glrt-", 16, dotted},
		{"glft-", 16, word},
		{"glcbt-", 16, word},
		{"glptt-", 16, word},
		{"glimt-", 16, word},
		{"glagent-", 16, word},
		{"gloas-", 16, word},
		{"glsoat-", 16, word},
		{"glffct-", 16, word},
		{"gsk_", 20, alnum},
		{"glsa_", 20, word},
	},
	'h': {{"hf_", 20, alnum}, {"hvs.", 20, word}, {"hvb.", 20, word}},
	'l': {{"lin_api_", 20, alnum}},
	'n': {{"npm_", 30, alnum}, {"nvapi-", 20, word}, {"ntn_", 40, alnum}},
	'o': {{"ops_eyJ", 100, base64}},
	'p': {{"pypi-", 30, word}, {"pplx-", 20, alnum}, {"pul-", 30, hex}, {"pscale_tkn_", 20, dotted}, {"pscale_pw_", 20, dotted}},
	'r': {{"rk_live_", 16, alnum}, {"rk_test_", 16, alnum}, {"r8_", 30, alnum}, {"rubygems_", 30, hex}},
	's': {
		{"sk_live_", 16, alnum},
		{"sk_test_", 16, alnum},
		{"sk-", 20, word},
		{"shpat_", 20, hex},
		{"shpss_", 20, hex},
		{"shpca_", 20, hex},
		{"sbp_", 30, hex},
		{"sntrys_", 20, base64},
		{"sq0csp-", 20, word},
		{"sq0atp-", 20, word},
	},
	't': {{"tvly-", 20, word}},
	'w': {{"whsec_", 20, base64}},
	'x': {
		{"xoxb-", 10, word},
		{"xoxp-", 10, word},
		{"xoxa-", 10, word},
		{"xoxr-", 10, word},
		{"xoxs-", 10, word},
		{"xoxe", 10, dotted},
		{"xapp-", 10, word},
		{"xai-", 30, alnum},
		{"xkeysib-", 60, word},
	},
	'y': {{"ya29.", 20, word}},
}

// shapes finds tokens by how they look.
func (f *finder) shapes() {
	s := f.s
	aws := false
	for i := 0; i+1 < len(s); i++ {
		switch c := s[i]; {
		case c == ':' && strings.HasPrefix(s[i:], ":AA"):
			f.bot(i)
		case c == '/':
			f.webhook(i)
		case c >= 128 || follows[c]>>(s[i+1]&31)&1 == 0: // no prefix begins so
		case c == 'e' && strings.HasPrefix(s[i:], "eyJ") && starts(s, i):
			f.jwt(i)
		case c == '-' && strings.HasPrefix(s[i:], "-----BEGIN "):
			f.pem(i)
		default:
			aws = f.issued(i) || aws
		}
	}
	if aws {
		f.awsSecrets()
	}
}

// issued looks for a token of a known issuer at i, and reports whether it is the id of a key of
// AWS.
func (f *finder) issued(i int) (aws bool) {
	for _, sh := range shapes[f.s[i]] {
		if n := sh.match(f.s, i); n > 0 {
			f.add(i, i+n)
			return sh.prefix[0] == 'A' && len(sh.prefix) == 4
		}
	}
	return false
}

// match is the length of the token at i; 0 if there is none.
func (sh shape) match(s string, i int) int {
	if !strings.HasPrefix(s[i:], sh.prefix) || !starts(s, i) && !strings.HasPrefix(sh.prefix, "gh") {
		return 0
	}
	j := i + len(sh.prefix)
	for j < len(s) && sh.set(s[j]) {
		j++
	}
	if j-i-len(sh.prefix) < sh.least {
		return 0
	}
	if sh.prefix == "sk-" && !entropic(s[i:j]) { // a long name with dashes is none
		return 0
	}
	return j - i
}

// jwt finds a JSON web token: two or three parts in base64, of which two are JSON.
func (f *finder) jwt(i int) {
	head := run(f.s, i, word)
	if head-i < 12 || !strings.HasPrefix(f.s[head:], ".eyJ") {
		return
	}
	f.add(i, run(f.s, head+1, dotted))
}

// pem finds a private key; if its end is missing all that follows counts as a part of it.
func (f *finder) pem(i int) {
	const tail = "PRIVATE KEY"
	line := f.s[i:]
	if n := strings.Index(line[5:], "-----"); n >= 0 {
		line = line[:5+n]
	}
	if !strings.Contains(line, tail) {
		return
	}
	body := i + len(line)
	end := len(f.s)
	if n := strings.Index(f.s[body:], "-----END "); n >= 0 {
		end = body + n
		if n := strings.Index(f.s[end+9:], "-----"); n >= 0 {
			end += 9 + n + 5
		}
	}
	f.add(i, end)
}

// bot finds the token of a chat bot: its number, a colon, AA and 33 more. i is the place of the
// colon.
func (f *finder) bot(i int) {
	from := i
	for from > 0 && f.s[from-1] >= '0' && f.s[from-1] <= '9' {
		from--
	}
	if to := run(f.s, i+1, word); i-from >= 8 && to-i > 30 {
		f.add(from, to)
	}
}

// webhook finds the part of a web hook's address that lets everybody use it.
func (f *finder) webhook(i int) {
	for _, path := range []string{"/services/T", "/api/webhooks/"} {
		if strings.HasPrefix(f.s[i:], path) && (strings.HasSuffix(f.s[:i], "hooks.slack.com") || strings.HasSuffix(f.s[:i], "discord.com") || strings.HasSuffix(f.s[:i], "discordapp.com")) {
			from := i + strings.LastIndexByte(path, '/') + 1
			f.add(from, run(f.s, from, base64))
		}
	}
}

// awsSecrets finds the 40 bytes of base64 that belong to a key id which was found.
func (f *finder) awsSecrets() {
	for i := 0; i < len(f.s); i++ {
		if !base64(f.s[i]) {
			continue
		}
		j := run(f.s, i, base64)
		if j-i == 40 && entropic(f.s[i:j]) {
			f.add(i, j)
		}
		i = j
	}
}

// urls finds the password, or the token, in front of the host of a URL.
func (f *finder) urls() {
	for i := 0; ; {
		n := strings.Index(f.s[i:], "://")
		if n < 0 {
			return
		}
		i += n + 3
		end := i
		for end < len(f.s) && strings.IndexByte("/ \t\n\"'`?#<>\\", f.s[end]) < 0 {
			end++
		}
		at := strings.LastIndexByte(f.s[i:end], '@')
		if at < 0 {
			// A slash in a password should be written as %2F and often is not.
			if at = slashed(f.s[i:]); at < 0 {
				continue
			}
		}
		user, password, has := strings.Cut(f.s[i:i+at], ":")
		if has && password != "" && !reference(password) {
			f.add(i+len(user)+1, i+at)
		}
		if entropic(user) {
			f.add(i, i+len(user))
		}
	}
}

// slashed is the place of the @ after user:password where the password holds a slash, -1 if there
// is none. What follows the colon must be no port.
func slashed(s string) int {
	if n := strings.IndexAny(s, " \t\n\"'`?#<>\\"); n >= 0 {
		s = s[:n]
	}
	colon := strings.IndexByte(s, ':')
	if colon < 0 || strings.IndexByte(s[:colon], '/') >= 0 {
		return -1
	}
	if next := run(s, colon+1, digit); next > colon+1 && next < len(s) && s[next] == '/' {
		return -1
	}
	return strings.LastIndexByte(s, '@')
}

// run is the end of the bytes of a set that begin at i.
func run(s string, i int, set func(byte) bool) int {
	for i < len(s) && set(s[i]) {
		i++
	}
	return i
}

//go:nosplit
func digit(c byte) bool { return c >= '0' && c <= '9' }

//go:nosplit
func alnum(c byte) bool  { return letter(c) || digit(c) }
func upper(c byte) bool  { return c >= 'A' && c <= 'Z' || digit(c) }
func hex(c byte) bool    { return digit(c) || c|0x20 >= 'a' && c|0x20 <= 'f' }
func word(c byte) bool   { return alnum(c) || c == '_' || c == '-' }
func dotted(c byte) bool { return word(c) || c == '.' }
func base64(c byte) bool { return word(c) || c == '+' || c == '/' || c == '=' }

// entropic reports whether s looks like made by chance: long, of letters and digits, hardly a byte
// twice.
func entropic(s string) bool {
	if len(s) < 16 {
		return false
	}
	var letters, digits, changes int
	var seen [128]bool
	distinct := 0
	for i := range len(s) {
		c := s[i]
		switch {
		case !base64(c) && c != '.' && c != '~' && c != '%':
			return false
		case digit(c):
			digits++
		case letter(c):
			letters++
		}
		if i > 0 && (digit(c) != digit(s[i-1]) || letter(c) && letter(s[i-1]) && c&0x20 != s[i-1]&0x20) {
			changes++
		}
		if !seen[c] {
			seen[c] = true
			distinct++
		}
	}
	return letters >= 4 && digits >= 2 && distinct >= 8 && changes >= 4 && !strings.HasPrefix(s, "/")
}
