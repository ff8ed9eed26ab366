package plain

// longOptions are those of bash, and how many of the following words each takes.
//
// Source: bash(1), OPTIONS; bash 5.2 shell.c, long_args.
var longOptions = [...]struct {
	name  string
	takes int
}{
	{"debug", 0},
	{"debugger", 0},
	{"dump-po-strings", 0},
	{"dump-strings", 0},
	{"init-file", 1},
	{"login", 0},
	{"noediting", 0},
	{"noprofile", 0},
	{"norc", 0},
	{"posix", 0},
	{"pretty-print", 0},
	{"protected", 0},
	{"rcfile", 1},
	{"restricted", 0},
	{"verbose", 0},
	{"wordexp", 0},
}

// Option reads one option of bash, which begins with "-" or "+": how many of the following words
// belong to it, and whether it is a long one. A long one has one dash or two. Each o and O
// in a word of short options, such as -euxo, takes a word.
//
// Source: bash 5.2 shell.c, parse_long_options and parse_shell_options.
func Option(word string) (takes int, long bool) {
	if Begins(word, "-") {
		name := word[1:]
		if Begins(name, "-") {
			name = name[1:]
		}
		for _, o := range longOptions {
			if o.name == name {
				return o.takes, true
			}
		}
	}
	for i := 1; i < len(word) && word[1] != '-'; i++ {
		if word[i] == 'o' || word[i] == 'O' {
			takes++
		}
	}
	return takes, false
}
