package bench

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

var other = flag.String("against", "", "directory with the programs of another build to compare with")

// BenchmarkAgainst runs each command with the programs of this tree and with those of another
// build, in turns, and prints the ratios. It is how a change of a hot path is judged.
func BenchmarkAgainst(b *testing.B) {
	if *other == "" {
		b.Skip("-against names no build")
	}
	old, err := filepath.Abs(*other)
	if err != nil {
		b.Fatal(err)
	}
	bin := build(b, workDir(b))
	names := []string{"user"}
	if os.Geteuid() == 0 {
		names = []string{"root", "user"}
	}
	var rows []row
	for _, name := range names {
		was, is := newAccount(b, name, old), newAccount(b, name, bin)
		shimWas, shimIs := shimOf(b, was, "true"), shimOf(b, is, "true")
		pairs := [][2]variant{
			pair("substrate -c true", was, is, "substrate", "-c", "true"),
			{{name: "before", run: was.command(was.home, shimWas)}, {name: "true, behind a shim", run: is.command(is.home, shimIs)}},
			pair("substrate world run -- true", was, is, "substrate", "world", "run", "--", "true"),
			pair("substrate world run --upper tmpfs -- true", was, is, "substrate", "world", "run", "--upper", "tmpfs", "--", "true"),
		}
		for _, p := range pairs {
			got, err := group{name, p[:]}.measure(*rounds)
			if err != nil {
				b.Error(err)
				continue
			}
			rows = append(rows, got...)
		}
	}
	fmt.Print("\n", table(rows), "\n")
}

// pair is one command with the programs of two accounts, the earlier build first.
func pair(name string, was, is *account, program string, args ...string) [2]variant {
	return [2]variant{
		{name: "before", run: was.command(was.home, program, args...)},
		{name: name, run: is.command(is.home, program, args...)},
	}
}
