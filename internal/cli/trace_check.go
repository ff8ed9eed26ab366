package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"substrate/fsdiff"
	"substrate/internal/show"
	"substrate/internal/tracecheck"
	"substrate/trace"
)

// traceSchemaCommand is `trace schema`.
func traceSchemaCommand(a *app) *cobra.Command {
	var ofDiff bool
	cmd := &cobra.Command{
		Use:   "schema",
		Short: "print the JSON Schema of a line of the trace",
		Long: `Print the JSON Schema (2020-12) of a line of the trace. With --fs-diff, print the schema of a list of file
changes, to which the first one refers.`,
		Example: `  substrate trace schema > trace.schema.json
  substrate trace schema --fs-diff | jq '.properties | keys'`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if ofDiff {
				return a.print(string(fsdiff.Schema))
			}
			return a.print(string(trace.Schema))
		},
	}
	cmd.Flags().BoolVar(&ofDiff, "fs-diff", false, "print the schema of fs_diff instead")
	return cmd
}

// traceValidateCommand is `trace validate`.
func traceValidateCommand(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "validate [FILE]",
		Short: "check every line of a trace against the schema",
		Long: `Check every line of a trace against the schema: of FILE ("-" for standard input), or of the trace and its rotated files.
For each invalid line it prints one line, with the number of the line and the JSON pointer of the first
wrong value. The exit status is 1 if a line is invalid.
With --json it prints an object with valid and files, each with its number of lines and its problems.`,
		Example: `  substrate trace validate
  jq -c 'select(.exit != 0)' ~/.substrate/trace.jsonl | substrate trace validate -`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			files, err := a.filesToCheck(args)
			if err != nil {
				return err
			}
			return a.validate(files, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

// filesToCheck are the named files, or those of the trace, the oldest first.
func (a *app) filesToCheck(args []string) ([]string, error) {
	if len(args) > 0 {
		return args, nil
	}
	path := a.cfg.Trace
	files, err := trace.Files(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &failure{err: fmt.Errorf("there is no trace at %s", path), hint: "`substrate -c CMD` records a command"}
	}
	slices.Reverse(files)
	return files, failed(err)
}

// checkedFile is the result for one file.
type checkedFile struct {
	File     string               `json:"file"`
	Lines    int                  `json:"lines"`
	Problems []tracecheck.Problem `json:"problems"`
}

// checked is what `trace validate --json` prints.
type checked struct {
	Valid bool          `json:"valid"`
	Files []checkedFile `json:"files"`
}

// validate checks files, and prints each problem as it finds it.
func (a *app) validate(files []string, asJSON bool) error {
	all := checked{Valid: true, Files: []checkedFile{}}
	out := bufio.NewWriter(a.stdout)
	lines, bad := 0, 0
	for _, name := range files {
		file := checkedFile{File: name, Problems: []tracecheck.Problem{}}
		err := a.checkFile(&file, func(p tracecheck.Problem) error {
			bad++
			if asJSON {
				file.Problems = append(file.Problems, p)
				return nil
			}
			_, err := fmt.Fprintf(out, "%s: %s\n", fsdiff.Escape(name), show.Line(p.String()))
			return err
		})
		if err != nil {
			return failed(errors.Join(err, out.Flush()))
		}
		lines += file.Lines
		all.Files = append(all.Files, file)
	}
	if bad > 0 {
		a.status, all.Valid = 1, false
	}
	if asJSON {
		return a.printJSON(all)
	}
	fmt.Fprintf(out, "%d lines, %d of them not valid\n", lines, bad)
	return failed(out.Flush())
}

// checkFile checks one file, with a progress line on a terminal.
func (a *app) checkFile(file *checkedFile, found func(tracecheck.Problem) error) error {
	in := a.stdin
	if file.File != "-" {
		f, err := os.Open(file.File)
		if err != nil {
			return fmt.Errorf("open trace: %w", err)
		}
		defer f.Close() //nolint:errcheck // it was only read
		in = f
	}
	all := int64(0)
	if st, err := in.Stat(); err == nil && st.Mode().IsRegular() {
		all = st.Size()
	}
	p := show.NewProgress(a.stderr, "checking "+file.File)
	defer p.Done()
	var err error
	file.Lines, err = tracecheck.Each(&countedReader{r: in, count: func(n int64) { p.At(n, all) }}, found)
	return err
}

// countedReader calls count with the number of bytes that have been read.
type countedReader struct {
	r     io.Reader
	n     int64
	count func(int64)
}

// Read implements [io.Reader].
func (c *countedReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	c.count(c.n)
	return n, err
}
