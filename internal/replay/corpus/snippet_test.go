package corpus

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// snippet is one command of the corpus and what it needs.
type snippet struct {
	topic string // the data file without ".txt"
	name  string // unique in the whole corpus
	cmd   string // what follows -c, byte for byte

	flags []string // words before the command; -c is added unless one of them has it
	args  []string // $0, $1 …; nil leaves them to the shell
	env   []string // NAME=VALUE, added to or replacing the fixed environment
	only  string   // "root" or "user"; "" for both
	cwd   string   // below the work directory; "" for that itself
	umask int      // -1 for 022
	stdin *string  // nil for /dev/null

	setup      []entry
	exceptions []exception
}

// entry is a file that exists before the command runs. A path that begins with "~/" is in the home
// directory.
type entry struct {
	kind   string // file, dir, symlink, hardlink
	path   string
	target string      // of symlinks and hard links
	mode   os.FileMode // of files
	data   string
}

// exception is an intended difference from plain bash.
type exception struct {
	runs   string // letters of the runs, such as "D" or "BCD"
	parts  string // comma-separated: stdout, stderr, status, files, diff, trace
	who    string // "root" or "user"; "" for both
	reason string
}

// excused reports whether the part of a run may differ, and why.
func (s *snippet) excused(run, part, who string) (reason string, ok bool) {
	for _, e := range s.exceptions {
		if strings.Contains(e.runs, run) && (e.who == "" || e.who == who) &&
			strings.Contains(","+e.parts+",", ","+part+",") {
			return e.reason, true
		}
	}
	return "", false
}

// loadSnippets reads all data files. Names must be unique, because they are directory names.
func loadSnippets(dir string) ([]*snippet, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil {
		return nil, err
	}
	var all []*snippet
	seen := map[string]string{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		list, err := parseSnippets(strings.TrimSuffix(filepath.Base(file), ".txt"), string(data))
		if err != nil {
			return nil, err
		}
		for _, s := range list {
			if other := seen[s.name]; other != "" {
				return nil, fmt.Errorf("%s: the name %s is taken in %s", s.topic, s.name, other)
			}
			seen[s.name] = s.topic
		}
		all = append(all, list...)
	}
	return all, nil
}

// parseSnippets reads one data file; testdata/README.md describes the format.
func parseSnippets(topic, text string) ([]*snippet, error) {
	var list []*snippet
	_, rest, found := strings.Cut("\n"+text, "\n=== ")
	for found {
		var body string
		body, rest, found = strings.Cut(rest, "\n=== ")
		name, body, _ := strings.Cut(body, "\n")
		s := &snippet{topic: topic, name: name, umask: -1}
		if err := s.parse(body); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", topic, name, err)
		}
		list = append(list, s)
	}
	return list, nil
}

// parse splits the body into its sections. A section is a line "--- word rest" and the text up to
// the next; text before the first section is the command.
func (s *snippet) parse(body string) error {
	if !strings.HasPrefix(body, "--- ") {
		body = "--- cmd\n" + body
	}
	hasCmd := false
	for _, section := range strings.Split("\n"+body, "\n--- ")[1:] {
		if hasCmd {
			return fmt.Errorf("section after the command: %.40q", section)
		}
		head, text, _ := strings.Cut(section, "\n")
		word, rest, _ := strings.Cut(head, " ")
		text = strings.TrimRight(text, "\n")
		if word == "cmd" {
			hasCmd = true
		}
		if err := s.section(word, rest, text); err != nil {
			return fmt.Errorf("section %q: %w", head, err)
		}
	}
	if !hasCmd {
		return fmt.Errorf("no command")
	}
	return nil
}

// section parses one section.
func (s *snippet) section(word, rest, text string) (err error) {
	switch word {
	case "cmd":
		s.cmd, err = textOrQuoted(rest, text, "")
		return err
	case "stdin":
		data, err := textOrQuoted(rest, text, "\n")
		s.stdin = &data
		return err
	case "file":
		return s.fileSection(rest, text)
	}
	if text != "" {
		return fmt.Errorf("unexpected text %.40q", text)
	}
	switch word {
	case "flags":
		s.flags = strings.Fields(rest)
	case "args":
		s.args, err = quotedWords(rest)
	case "env":
		rest, err = maybeQuoted(rest)
		s.env = append(s.env, rest)
	case "only":
		if s.only = rest; rest != "root" && rest != "user" {
			return fmt.Errorf("want root or user")
		}
	case "umask":
		mask, perr := strconv.ParseUint(rest, 8, 9)
		s.umask, err = int(mask), perr
	case "cwd":
		s.cwd, err = maybeQuoted(rest)
	case "dir":
		rest, err = maybeQuoted(rest)
		s.setup = append(s.setup, entry{kind: "dir", path: rest})
	case "symlink", "hardlink":
		path, target, _ := strings.Cut(rest, " ")
		s.setup = append(s.setup, entry{kind: word, path: path, target: target})
	case "except":
		return s.exceptSection(rest)
	default:
		return fmt.Errorf("unknown section")
	}
	return err
}

// fileSection reads "PATH [MODE] [quoted]".
func (s *snippet) fileSection(rest, text string) (err error) {
	e := entry{kind: "file", mode: 0o644}
	words := strings.Fields(rest)
	e.path = words[0]
	form := ""
	for _, w := range words[1:] {
		if w == "quoted" {
			form = w
			continue
		}
		mode, err := strconv.ParseUint(w, 8, 12)
		if err != nil {
			return err
		}
		e.mode = os.FileMode(mode)
	}
	e.data, err = textOrQuoted(form, text, "\n")
	s.setup = append(s.setup, e)
	return err
}

// exceptSection reads "RUNS PARTS [root|user]: REASON".
func (s *snippet) exceptSection(rest string) error {
	head, reason, ok := strings.Cut(rest, ": ")
	words := strings.Fields(head)
	if !ok || reason == "" || len(words) < 2 || len(words) > 3 || strings.Trim(words[0], "BCD") != "" || !knownParts(words[1]) {
		return fmt.Errorf("want RUNS PARTS [root|user]: REASON")
	}
	e := exception{runs: words[0], parts: words[1], reason: reason}
	if len(words) == 3 {
		e.who = words[2]
	}
	s.exceptions = append(s.exceptions, e)
	return nil
}

// knownParts reports whether each of the comma-separated words is a part that is compared.
func knownParts(list string) bool {
	for _, part := range strings.Split(list, ",") {
		if !strings.Contains(" stdout stderr status files diff trace ", " "+part+" ") {
			return false
		}
	}
	return true
}

// textOrQuoted returns text and end. If the form is "quoted", each line of text is a Go string,
// perhaps followed by "* N" to repeat it, and it returns the strings joined without a separator.
func textOrQuoted(form, text, end string) (string, error) {
	switch form {
	case "":
		return text + end, nil
	case "quoted":
	default:
		return "", fmt.Errorf("unknown form %q", form)
	}
	var out bytes.Buffer
	for _, line := range strings.Split(text, "\n") {
		prefix, err := strconv.QuotedPrefix(line)
		if err != nil {
			return "", fmt.Errorf("%.40q is no Go string", line)
		}
		times := 1
		if tail := strings.TrimSpace(line[len(prefix):]); tail != "" {
			if times, err = strconv.Atoi(strings.TrimPrefix(tail, "* ")); err != nil {
				return "", err
			}
		}
		value, err := strconv.Unquote(prefix)
		if err != nil {
			return "", err
		}
		out.WriteString(strings.Repeat(value, times))
	}
	return out.String(), nil
}

// quotedWords parses Go strings with blanks between them.
func quotedWords(line string) ([]string, error) {
	words := []string{}
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimSpace(line) {
		prefix, err := strconv.QuotedPrefix(line)
		if err != nil {
			return nil, fmt.Errorf("%.40q is no Go string", line)
		}
		value, err := strconv.Unquote(prefix)
		if err != nil {
			return nil, err
		}
		words = append(words, value)
		line = line[len(prefix):]
	}
	return words, nil
}

// maybeQuoted unquotes the text if it begins with a quote.
func maybeQuoted(text string) (string, error) {
	if strings.HasPrefix(text, `"`) {
		return strconv.Unquote(text)
	}
	return text, nil
}
