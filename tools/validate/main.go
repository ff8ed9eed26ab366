// Validate runs the recipes of the documentation and prints a table.
//
// A recipe is a fenced block with the info string "sh validate=NAME", which may add "as=root" or
// "as=user"; without that, root runs it as both. It runs with bash -e in an empty home and must end
// with status 0. A block "text expect=NAME" holds lines that the recipe must print in this order,
// on stdout or stderr; other lines may stand between them, and … stands for any text within a line.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// userID is the uid and gid of the ordinary user. It needs no account.
const userID = 12345

func main() {
	bin := flag.String("bin", "bin", "directory of the programs, first on PATH of the recipes")
	demo := flag.String("demo", "", "script that is one more recipe; it finds the programs in ../bin")
	only := flag.String("run", "", "run only recipes whose name contains this")
	verbose := flag.Bool("v", false, "print the output of every recipe")
	flag.Parse()
	ok, err := run(*bin, *demo, *only, *verbose, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "validate:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

func run(bin, demo, only string, verbose bool, files []string) (bool, error) {
	recipes, err := readAll(files)
	if err != nil {
		return false, err
	}
	work, err := os.MkdirTemp("/tmp", "substrate-validate-")
	if err != nil {
		return false, err
	}
	defer removeAll(work)
	bin, err = shareBin(bin, work)
	if err != nil {
		return false, err
	}
	if demo != "" {
		path := filepath.Join(work, "scripts", "demo")
		if err := share(demo, path); err != nil {
			return false, err
		}
		recipes = append(recipes, &recipe{name: "demo", file: demo, script: path})
	}
	passed, failed := 0, 0
	fmt.Printf("%-6s %-28s %-5s %-24s %s\n", "", "RECIPE", "AS", "FROM", "TIME")
	for _, r := range recipes {
		if !strings.Contains(r.name, only) {
			continue
		}
		for _, account := range accounts(r.as) {
			began := time.Now()
			out, err := r.run(account, bin)
			word := "PASS"
			if err != nil {
				word, failed = "FAIL", failed+1
			} else {
				passed++
			}
			fmt.Printf("%-6s %-28s %-5s %-24s %.1fs\n", word, r.name, account, r.file, time.Since(began).Seconds())
			if err != nil || verbose {
				show(out, err)
			}
		}
	}
	fmt.Printf("%d passed, %d failed\n", passed, failed)
	return failed == 0 && passed > 0, nil
}

// removeAll removes a directory, but not the files of a mount that a world left in it.
func removeAll(dir string) { _ = exec.Command("rm", "-rf", "--one-file-system", "--", dir).Run() }

// shareBin copies the programs to a directory that every account can reach.
func shareBin(bin, work string) (string, error) {
	if err := os.Chmod(work, 0o755); err != nil {
		return "", err
	}
	dir := filepath.Join(work, "bin")
	for _, name := range []string{"substrate", "substrate-shim"} {
		if err := share(filepath.Join(bin, name), filepath.Join(dir, name)); err != nil {
			return "", fmt.Errorf("%w (make build writes it)", err)
		}
	}
	return dir, nil
}

// share copies a program to a path that every account can reach.
func share(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o755)
}

// accounts lists the accounts as which a recipe runs: root can be both, a user only a user.
func accounts(as string) []string {
	all := []string{"user"}
	if os.Geteuid() == 0 {
		all = []string{"root", "user"}
	}
	var wanted []string
	for _, a := range all {
		if as == "" || as == a {
			wanted = append(wanted, a)
		}
	}
	return wanted
}

func show(out string, err error) {
	for _, line := range strings.Split(strings.TrimRight(out, "\n"), "\n") {
		fmt.Println("       |", line)
	}
	if err != nil {
		fmt.Println("       =", err)
	}
}

// recipe is one block of the documentation, and what it prints.
type recipe struct {
	name, as, file string
	script         string
	expect         []string
}

func readAll(files []string) ([]*recipe, error) {
	var all []*recipe
	byName := map[string]*recipe{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		for _, b := range blocks(string(data)) {
			name, isRecipe := b.info["validate"]
			if isRecipe {
				if byName[name] != nil {
					return nil, fmt.Errorf("%s: a recipe %s exists already", file, name)
				}
				r := &recipe{name: name, as: b.info["as"], file: file, script: b.text}
				byName[name], all = r, append(all, r)
			}
			if name, ok := b.info["expect"]; ok {
				if byName[name] == nil {
					return nil, fmt.Errorf("%s: expect=%s comes before its recipe", file, name)
				}
				byName[name].expect = strings.Split(strings.TrimRight(b.text, "\n"), "\n")
			}
		}
	}
	if len(all) == 0 {
		return nil, errors.New("no recipe found")
	}
	return all, nil
}

type block struct {
	info map[string]string // words of the info string; those without = have the value ""
	text string
}

// blocks finds the fenced blocks of a Markdown text.
//
// Source: CommonMark 0.31, section 4.5, "Fenced code blocks".
func blocks(text string) []block {
	var all []block
	var open *block
	for _, line := range strings.SplitAfter(text, "\n") {
		info, fence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case open == nil && fence:
			open = &block{info: map[string]string{}}
			for _, word := range strings.Fields(info) {
				k, v, _ := strings.Cut(word, "=")
				open.info[k] = v
			}
		case open != nil && fence:
			all, open = append(all, *open), nil
		case open != nil:
			open.text += line
		}
	}
	return all
}

// run runs the recipe as an account and returns its output. The error says how that differs from
// what the documentation promises.
func (r *recipe) run(account, bin string) (string, error) {
	// Right below /tmp, as a home is below /home: see docs/known-limits.md.
	home, err := os.MkdirTemp("/tmp", "substrate-validate-home-")
	if err != nil {
		return "", err
	}
	defer removeAll(home)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-e", "-o", "pipefail", "-c", r.script)
	cmd.Dir = home
	cmd.WaitDelay = 5 * time.Second
	cmd.Env = []string{
		"HOME=" + home, "PATH=" + bin + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"LANG=C.UTF-8", "TERM=dumb", "USER=" + account, "LOGNAME=" + account, "SHELL=/bin/bash",
	}
	if account == "user" && os.Geteuid() == 0 {
		if err := os.Chown(home, userID, userID); err != nil {
			return "", err
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: userID, Gid: userID}}
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("the recipe ended with %w", err)
	}
	return string(out), match(r.expect, string(out))
}

// match looks for each line of expect in out, in this order.
func match(expect []string, out string) error {
	lines := strings.Split(out, "\n")
	at := 0
	for _, want := range expect {
		if strings.TrimSpace(want) == "…" || strings.TrimSpace(want) == "" {
			continue
		}
		for at < len(lines) && !matchLine(want, lines[at]) {
			at++
		}
		if at == len(lines) {
			return fmt.Errorf("this line is not in the output, or not in its place: %q", want)
		}
		at++
	}
	return nil
}

// matchLine compares a line with a pattern in which … stands for any text.
func matchLine(pattern, line string) bool {
	parts := strings.Split(pattern, "…")
	if len(parts) == 1 {
		return pattern == line
	}
	rest, ok := strings.CutPrefix(line, parts[0])
	if !ok {
		return false
	}
	last := parts[len(parts)-1]
	for _, p := range parts[1 : len(parts)-1] {
		_, after, found := strings.Cut(rest, p)
		if !found {
			return false
		}
		rest = after
	}
	return strings.HasSuffix(rest, last)
}
