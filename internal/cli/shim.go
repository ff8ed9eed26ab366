package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"substrate/fsdiff"
	"substrate/internal/shim"
)

const longShim = `Shims are links in ~/.substrate/shims with the names of programs: git, npm, python and so on.
A command that substrate runs has them first on its PATH, so that each of these programs leaves a
span of its own with its arguments, its exit status and the command that started it.

The first command deploys them. To have them in a terminal as well, put the directory first on PATH:

  export PATH="$HOME/.substrate/shims:$PATH"

~/.substrate/settings.json adds and removes names: {"shims": {"add": ["terraform"], "remove": ["jq"]}}.
SUBSTRATE_NO_SHIMS=1 switches them off, --shim-skip for one command; SHIM_BYPASS=1 lets a shim run
its program without recording it.`

const shimExamples = `  substrate shim status                       what is there, and whether anything is to be done
  substrate shim deploy                       make it right; after a change of the settings, too
  substrate shim remove                       take them away, until the next deploy
  substrate --shim-skip -c 'git status'       one command without them`

// addShim adds the subcommand shim and those below it.
func addShim(root *cobra.Command, a *app) {
	cmd := &cobra.Command{
		Use:     "shim",
		Short:   "record the programs that commands start",
		Long:    longShim,
		Example: shimExamples,
	}
	var asJSON bool
	add := func(name, short, long string, run func(asJSON bool) error) {
		sub := &cobra.Command{
			Use: name, Short: short, Long: long, Args: cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error { return failed(run(asJSON)) },
		}
		sub.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
		cmd.AddCommand(sub)
	}
	add("deploy", "make the links what they shall be, and print the status",
		"Make the links what they shall be, and print the status as `shim status` does. If they are, nothing is written.", a.shimDeploy)
	add("status", "say what is deployed; exit 1 if something is to be done",
		"Say what is deployed. The exit status is 0 if it is up to date or switched off, 1 if there is something to do.\n"+
			"That the directory is not first on the PATH of this terminal is a warning only.", a.shimStatus)
	add("remove", "take the links away until the next deploy",
		"Take the links away. No command deploys them again until `shim deploy`. Files of yours in the directory stay.", a.shimRemove)
	root.AddCommand(cmd)
}

// shimDeploy is `shim deploy`.
func (a *app) shimDeploy(asJSON bool) error {
	if !a.cfg.NoShims {
		if err := shim.Deploy(a.cfg, a.env); err != nil {
			return shimFailure("deploy", err)
		}
	}
	return a.shimStatus(asJSON)
}

// shimStatus is `shim status`.
func (a *app) shimStatus(asJSON bool) error {
	s := shim.Look(a.cfg, a.env)
	if !s.Good() {
		a.status = 1
	}
	text := shimText(s)
	if asJSON {
		object, err := json.Marshal(s)
		if err != nil {
			return err
		}
		text = string(object) + "\n"
	}
	if err := a.print(text); err != nil {
		return err
	}
	if s.Problem != "" {
		a.warn("the shims cannot be deployed: %s", s.Problem)
	} else if s.State != shim.StateNotDeployed && !s.Good() {
		a.hint("run `substrate --shim-deploy`")
	}
	return nil
}

// shimRemove is `shim remove`.
func (a *app) shimRemove(asJSON bool) error {
	kept, err := shim.Remove(a.cfg)
	if err != nil {
		return shimFailure("remove", err)
	}
	if asJSON {
		object, err := json.Marshal(struct {
			State    string   `json:"state"`
			Location string   `json:"location"`
			Kept     []string `json:"kept"`
		}{shim.StateNotDeployed, a.cfg.ShimDir, append([]string{}, kept...)})
		if err != nil {
			return err
		}
		return a.print(string(object) + "\n")
	}
	text := "Shims: Removed\n"
	if len(kept) > 0 {
		text += "Kept: " + fsdiff.Escape(strings.Join(kept, ", ")) + " (not made by substrate, in " + fsdiff.Escape(a.cfg.ShimDir) + ")\n"
	}
	return a.print(text)
}

// shimText is the status for people.
//
// Source: SHM4, where scripts find these words.
func shimText(s shim.Status) string {
	switch s.State {
	case shim.StateDisabled:
		return "Shims: Deployment disabled (SUBSTRATE_NO_SHIMS=1)\nStatus: Skipped\n"
	case shim.StateNotDeployed:
		return "Shims: Not deployed\nSuggestion: run `substrate` once or `substrate --shim-deploy`\n"
	}
	title, deployed, version := "Deployed", "unknown", "unknown"
	if s.State == shim.StateIncomplete {
		title = "Deployed (incomplete)"
	}
	if s.DeployedAt != nil {
		deployed, version = s.DeployedAt.UTC().Format("2006-01-02 15:04:05 UTC"), s.Version
	}
	dir := fsdiff.Escape(s.Location)
	path := "OK (" + dir + " is first)"
	if !s.PathFirst {
		path = "WARN (shims dir is not first; current PATH begins with: " + fsdiff.Escape(s.PathStart) + ":...)"
	}
	return fmt.Sprintf("Shims: %s\nVersion: %s\nDeployed: %s\nLocation: %s\nCommands: %s\nPATH: %s\nStatus: %s\n",
		title, fsdiff.Escape(version), deployed, dir, shimCount(s), path, shimVerdict(s))
}

// shimCount says how many of the links are right.
func shimCount(s shim.Status) string {
	total := len(s.Commands)
	var absent []string // in the order of the list, whatever is the matter with them
	for _, name := range s.Commands {
		for _, list := range [][]string{s.Missing, s.Wrong} {
			for _, other := range list {
				if other == name {
					absent = append(absent, name)
				}
			}
		}
	}
	text := fmt.Sprintf("%d shims", total)
	if len(absent) > 0 {
		text = fmt.Sprintf("%d/%d shims (missing: %s)", total-len(absent), total, strings.Join(absent, ", "))
	}
	if len(s.Unwanted) > 0 {
		text += " (not wanted: " + strings.Join(s.Unwanted, ", ") + ")"
	}
	return fsdiff.Escape(text)
}

// shimVerdict is the last line.
func shimVerdict(s shim.Status) string {
	switch {
	case s.UpToDate:
		return "Up to date"
	case s.State == shim.StateIncomplete || !s.Drifted:
		return "Needs redeploy"
	}
	return "Update available (current: " + s.CurrentVersion + ")"
}

// shimFailure says what was being done, and the remedy if one is known.
func shimFailure(verb string, err error) error {
	f := &failure{err: fmt.Errorf("%s the shims: %w", verb, err)}
	switch {
	case errors.Is(err, shim.ErrNoHome):
		f.hint = "set HOME to your home directory; a PATH cannot name a directory with a colon"
	case errors.Is(err, shim.ErrNoProgram):
		f.hint = "install substrate-shim in the directory of substrate; `make build` writes both"
	case errors.Is(err, shim.ErrForeignHome):
		f.hint = "deploy them as that user, or set HOME"
	}
	return f
}
