package redact

import "unsafe"

// Hints is the result of a quick look at one string. Join those of several strings, such as the
// words of an argv, with |, because a flag in one word can make a secret of the next.
type Hints uint8

const (
	hintSecret  Hints = 1 << iota // enough by itself
	hintProgram                   // a program that takes a password by a short flag
	hintFlag                      // a short flag that means a password to some program
)

// MayHold reports whether strings with these hints may hold a secret. False is certain.
func (h Hints) MayHold() bool {
	return h&hintSecret != 0 || h&(hintProgram|hintFlag) == hintProgram|hintFlag
}

// MayHold is a quick look at s: false means that there is certainly nothing to redact in it, true
// that all rules must be asked. It does not allocate and uses no state, only loops and comparisons.
// For a list of words use [HintsOf].
//
//go:nosplit
func MayHold(s string) bool { return HintsOf(s).MayHold() }

// HintsOf is a quick look at one string. It may be called before the Go runtime has started:
// neither it nor what it calls allocates, grows the stack, or needs anything to be initialised.
//
//go:nosplit
func HintsOf(s string) Hints {
	var found Hints
	for i := 0; i+1 < len(s); i++ {
		if follows[char(s, i)]>>(char(s, i+1)&31)&1 == 0 {
			continue
		}
		found |= hintAt(s, i)
		if found&hintSecret != 0 {
			return found
		}
	}
	return found
}

// follows says which bytes may follow one of those that hintAt knows: bit n stands for all bytes
// whose lowest five bits are n. Most pairs of a text are none of these. It is laid out by the
// linker, so that it is there before anything has run; a test holds it against hintAt.
var follows = [256]uint32{
	'a': 0x0390a8c, 'A': 0x0390a8c, // p u k g s b c i t
	'b': 0x0000028, 'B': 0x0000028, // e c
	'c': 0x0248000, 'C': 0x0248000, // u o r
	'd': 0x001800a, 'D': 0x001800a, // o c a p
	'e': 0x2000000, 'E': 0x2000000, // y
	'f': 0x0140200, 'F': 0x0140200, // t i r
	'g': 0x0089300, 'G': 0x0089300, // h i l s o
	'h': 0x0508040, 'H': 0x0508040, // f t o v
	'k': 0x0000020, 'K': 0x0000020, // e
	'l': 0x0108210, 'L': 0x0108210, // o d i t
	'm': 0x2008002, 'M': 0x2008002, // y a o
	'n': 0x0550000, 'N': 0x0550000, // p v r t
	'o': 0x0010000, 'O': 0x0010000, // p
	'p': 0x2ad3002, 'P': 0x2ad3002, // a w r y p m u s l
	'r': 0x1200822, 'R': 0x1200822, // e k 8 u a
	's': 0x00a6ba4, 'S': 0x00a6ba4, // m q n e k g i h b s
	't': 0x0408000, 'T': 0x0408000, // o v
	'v': 0x0000002, 'V': 0x0000002, // a
	'w': 0x0000120, 'W': 0x0000120, // h e
	'x': 0x0008902, 'X': 0x0008902, // h o a k
	'y': 0x0000002, 'Y': 0x0000002, // a
	'z': 0x0000200, 'Z': 0x0000200, // i
	'-': 0xffffffff,
	'/': 0x0008000,
	'0': 0x4000000,
	'1': 0x4000000,
	'2': 0x4000000,
	'3': 0x4000000,
	'4': 0x4000000,
	'5': 0x4000000,
	'6': 0x4000000,
	'7': 0x4000000,
	'8': 0x4000000,
	'9': 0x4000000,
}

// SecretName reports whether a variable of this name may well hold a secret. Like [HintsOf] it may
// be called before the Go runtime has started.
//
//go:nosplit
func SecretName(name string) bool {
	for i := 0; i < len(name); i++ {
		switch char(name, i) | 0x20 {
		case 'a':
			if at(name, i, "auth") {
				return true
			}
		case 'c':
			if at(name, i, "cred") || at(name, i, "cookie") {
				return true
			}
		case 'k':
			if at(name, i, "key") {
				return true
			}
		case 'p':
			if at(name, i, "pass") || at(name, i, "pwd") && i > 0 || at(name, i, "pin") && i+3 == len(name) || at(name, i, "psk") {
				return true
			}
		case 's':
			if at(name, i, "secret") {
				return true
			}
		case 't':
			if at(name, i, "token") {
				return true
			}
		}
	}
	return false
}

// hintAt looks at the word, or the part of one, that begins at byte i. The first byte decides
// what is compared, so that most bytes of a text cost one jump.
//
//go:nosplit
func hintAt(s string, i int) Hints {
	switch char(s, i) {
	case '-':
		return dash(s, i)
	case '/':
		return userinfo(s, i)
	case 'A', 'a', 'B', 'b', 'C', 'c', 'D', 'd', 'E', 'e', 'F', 'f', 'H', 'h':
		return firstLetters(s, i)
	case 'G', 'g':
		return forges(s, i)
	case 'K', 'k', 'L', 'l', 'M', 'm', 'N', 'n', 'O', 'o', 'P', 'p', 'R', 'r':
		return middleLetters(s, i)
	case 'S', 's', 'T', 't', 'V', 'v', 'W', 'w', 'X', 'x', 'Y', 'y', 'Z', 'z', '7':
		return lastLetters(s, i)
	case '0', '1', '2', '3', '4', '5', '6', '8', '9':
		return when(i > 4 && at(s, i+1, ":aa")) // a bot's token: digits, a colon, AA…
	}
	return 0
}

// firstLetters looks for what begins with A to H, but for G.
//
//go:nosplit
func firstLetters(s string, i int) Hints {
	switch char(s, i) | 0x20 {
	case 'a':
		return when(at(s, i, "apikey") || at(s, i, "api_key") || at(s, i, "api-key") || at(s, i, "auth") && !(at(s, i, "author") && !at(s, i, "authori")) ||
			at(s, i, "akia") || at(s, i, "asia") || at(s, i, "abia") || at(s, i, "acca") || at(s, i, "aiza") || at(s, i, "accesskey") || at(s, i, "atatt3") || at(s, i, "atctt3") || at(s, i, "atbb") || at(s, i, "age-secret-key-"))
	case 'b':
		if at(s, i, "bcp") {
			return hintProgram
		}
		return when(at(s, i, "bearer"))
	case 'c':
		if at(s, i, "curl") {
			return hintProgram
		}
		return when(at(s, i, "cookie") || at(s, i, "credential"))
	case 'd':
		return when(at(s, i, "dop_v1_") || at(s, i, "doo_v1_") || at(s, i, "dor_v1_") || at(s, i, "dckr_") || at(s, i, "dapi") || at(s, i, "dp.pt."))
	case 'e':
		return when(at(s, i, "eyj"))
	case 'f':
		if at(s, i, "ftp") { // lftp, sftp, ncftp
			return hintProgram
		}
		return when(at(s, i, "figd_") || at(s, i, "freerdp"))
	case 'h':
		if at(s, i, "http") && (i+4 == len(s) || char(s, i+4) == ' ' || char(s, i+4)|0x20 == 's' && (i+5 == len(s) || char(s, i+5) == ' ')) {
			return hintProgram
		}
		return when(at(s, i, "hf_") && starts(s, i) || at(s, i, "hooks.slack") || at(s, i, "hvs.") || at(s, i, "hvb."))
	}
	return 0
}

// middleLetters looks for what begins with K to R.
//
//go:nosplit
func middleLetters(s string, i int) Hints {
	switch char(s, i) | 0x20 {
	case 'k':
		return when(at(s, i, "key") && nameEndsAfter(s, i))
	case 'l':
		if at(s, i, "login") || at(s, i, "ldap") {
			return hintProgram
		}
		return when(at(s, i, "lin_api_") || at(s, i, "ltai"))
	case 'm':
		if at(s, i, "mysql") || at(s, i, "mariadb") || at(s, i, "mongo") || at(s, i, "mycli") || at(s, i, "mosquitto") {
			return hintProgram
		}
	case 'n':
		return when(at(s, i, "npm_") && starts(s, i) || at(s, i, "nvapi-") || at(s, i, "nrak-") || at(s, i, "ntn_"))
	case 'o':
		if at(s, i, "openssl") {
			return hintProgram
		}
		return when(at(s, i, "ops_eyj"))
	case 'p':
		if at(s, i, "plink") || at(s, i, "pscp") || at(s, i, "psftp") {
			return hintProgram
		}
		return when(at(s, i, "pass") || (at(s, i, "pwd") || at(s, i, "pat")) && nameEndsAfter(s, i) ||
			at(s, i, "private key") || at(s, i, "pypi-") || at(s, i, "pplx-") || at(s, i, "pmak-") || at(s, i, "pul-") || at(s, i, "pscale_"))
	case 'r':
		if at(s, i, "redis-cli") || at(s, i, "rar") {
			return hintProgram
		}
		return when(at(s, i, "rk_") && starts(s, i) || at(s, i, "r8_") && starts(s, i) || at(s, i, "rubygems_"))
	}
	return 0
}

// lastLetters looks for what begins with S to Z, and for 7z.
//
//go:nosplit
func lastLetters(s string, i int) Hints {
	switch char(s, i) | 0x20 {
	case 's':
		if at(s, i, "smbclient") || at(s, i, "sqlcmd") || at(s, i, "snmp") || at(s, i, "ssh-keygen") {
			return hintProgram
		}
		return when(at(s, i, "secret") || at(s, i, "sqlplus") || (at(s, i, "sk-") || at(s, i, "sk_") || at(s, i, "sg.")) && starts(s, i) ||
			at(s, i, "sig=") || at(s, i, "shp") && at(s, i+5, "_") || at(s, i, "sbp_") || at(s, i, "sntrys_") || at(s, i, "sq0"))
	case 't':
		return when(at(s, i, "token") || at(s, i, "tvly-"))
	case 'v':
		if at(s, i, "vault") { // what follows its login
			return hintFlag
		}
	case 'w':
		return when(at(s, i, "whsec_") || at(s, i, "webhooks/"))
	case 'x':
		if at(s, i, "xh") && starts(s, i) && (i+2 == len(s) || char(s, i+2) == ' ') {
			return hintProgram
		}
		return when(at(s, i, "xox") || at(s, i, "xapp-") || at(s, i, "xai-") || at(s, i, "xkeysib-"))
	case 'y':
		return when(at(s, i, "ya29."))
	case 'z':
		if at(s, i, "zip") { // zip, unzip, 7zip
			return hintProgram
		}
	}
	if char(s, i) == '7' && at(s, i, "7z") {
		return hintProgram
	}
	if char(s, i) == '7' {
		return when(i > 4 && at(s, i+1, ":aa"))
	}
	return 0
}

// dash looks at a dash: the head of a key in PEM form, or a flag that means a password to some
// programs: -p, -u, -a, -w, -k, -x, -c, in either case, -b, -E or -N, alone, in a cluster or with
// its value.
//
//go:nosplit
func dash(s string, i int) Hints {
	if at(s, i, "-----begin") {
		return hintSecret
	}
	if i > 0 && !separates(char(s, i-1)) {
		return 0
	}
	for j := i + 1; j < len(s) && alnum(char(s, j)); j++ {
		switch char(s, j) {
		case 'b', 'E', 'N':
			return hintFlag
		}
		switch char(s, j) | 0x20 {
		case 'p', 'u', 'a', 'w', 'k', 'x', 'c':
			return hintFlag
		}
	}
	if at(s, i, "--user") || at(s, i, "--proxy-user") || at(s, i, "--cert") || at(s, i, "--proxy-cert") {
		return hintFlag
	}
	return 0
}

// userinfo reports whether the // at i begins the authority of a URL with a part before an @.
//
//go:nosplit
func userinfo(s string, i int) Hints {
	if i == 0 || char(s, i-1) != ':' || !at(s, i, "//") {
		return 0
	}
	colon := false
	for j := i + 2; j < len(s); j++ {
		switch char(s, j) {
		case '@':
			return hintSecret
		case ':':
			colon = true
		case '/':
			if !colon {
				return 0
			}
		case ' ', '\n', '\t':
			return 0
		}
	}
	return 0
}

// nameEndsAfter reports whether the three letters at i are, or end, a name that something may be
// assigned to: as a variable, a flag, or a key of JSON or YAML.
//
//go:nosplit
func nameEndsAfter(s string, i int) bool {
	j := i + 3
	if j < len(s) && (char(s, j) == '"' || char(s, j) == '\'' || char(s, j) == '\\') {
		for j++; j < len(s) && (char(s, j) == '"' || char(s, j) == '\'' || char(s, j) == ' '); j++ {
		}
		return j < len(s) && (char(s, j) == ':' || char(s, j) == '=' || char(s, j) == ',') || partOfName(s, i)
	}
	if j < len(s) && (char(s, j) == '=' || char(s, j) == ':') {
		return true
	}
	return (j >= len(s) || char(s, j) <= ' ' || char(s, j) == '<' || char(s, j) == '>') && partOfName(s, i)
}

// partOfName reports whether what stands at i is joined to a name before it, as in api-key and
// accessKey.
//
//go:nosplit
func partOfName(s string, i int) bool {
	return i > 0 && (char(s, i-1) == '_' || char(s, i-1) == '-' || char(s, i) < 'a' && char(s, i-1) >= 'a')
}

// starts reports whether no letter and no digit stands before byte i.
//
//go:nosplit
func starts(s string, i int) bool {
	return i == 0 || !letter(char(s, i-1)) && (char(s, i-1) < '0' || char(s, i-1) > '9')
}

// separates reports whether a word of a shell may begin after c.
//
//go:nosplit
func separates(c byte) bool {
	switch c {
	case ' ', '\t', '\n', '\r', '\'', '"', '\\', '=', ',', '[', '(', ')', '{', '}', '<', '>', '`', ';', '|', '&', '$':
		return true
	}
	return false
}

// forges looks for what begins with G: tokens of forges, most of all.
//
//go:nosplit
func forges(s string, i int) Hints {
	if len(s) > i+3 && char(s, i+1)|0x20 == 'h' && char(s, i+3) == '_' {
		return hintSecret
	}
	return when(at(s, i, "github_pat_") || at(s, i, "glsa_") || at(s, i, "gsk_") || at(s, i, "gocspx") ||
		at(s, i, "glpat-") || at(s, i, "gldt-") || at(s, i, "glrt-") || at(s, i, "glft-") || at(s, i, "glcbt-") || at(s, i, "glptt-") ||
		at(s, i, "glimt-") || at(s, i, "glagent-") || at(s, i, "gloas-") || at(s, i, "glsoat-") || at(s, i, "glffct-"))
}

// char is byte i of s. Without the check of bounds, whose failure needs a stack, the functions of
// this file can be called where there is hardly any. The caller has compared i with the length.
//
//go:nosplit
func char(s string, i int) byte {
	return *(*byte)(unsafe.Add(unsafe.Pointer(unsafe.StringData(s)), i))
}

// letter reports whether c is a letter of ASCII.
//
//go:nosplit
func letter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

// at reports whether word, which is written in lower case, stands at byte i of s, in any case.
//
//go:nosplit
func at(s string, i int, word string) bool {
	if i < 0 || len(s)-i < len(word) {
		return false
	}
	for j := 0; j < len(word); j++ {
		c := char(s, i+j)
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != char(word, j) {
			return false
		}
	}
	return true
}

// when is hintSecret if b holds.
//
//go:nosplit
func when(b bool) Hints {
	if b {
		return hintSecret
	}
	return 0
}
