package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"substrate/fsdiff"
	"substrate/internal/shim"
	"substrate/internal/show"
)

const longShim = `Shims are links in ~/.substrate/shims with the names of programs: git, npm, python and so on.
A command that substrate runs has them first on its PATH, so each of these programs leaves a
span of its own with its arguments, its exit status and the command that started it.

The first command deploys them. To use them in a terminal as well, put the directory first on PATH:

  export PATH="$HOME/.substrate/shims:$PATH"

~/.substrate/settings.json adds and removes names: {"shims": {"add": ["terraform"], "remove": ["jq"]}}.
SUBSTRATE_NO_SHIMS=1 switches them off, --shim-skip for one command; SHIM_BYPASS=1 lets a shim run
its program without recording it.`

const shimExamples = `  substrate shim status                       show what is deployed and what needs to be done
  substrate shim deploy                       repair it; also after a change of the settings
  substrate shim remove                       remove them until the next deploy
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
	add("deploy", "create or repair the links, then print the status",
		"Create or repair the links, then print the status as `shim status` does. Nothing is written if all is well.", a.shimDeploy)
	add("status", "print what is deployed; exit 1 if something needs to be done",
		"Print what is deployed. The exit status is 0 if it is up to date or switched off, 1 if something needs to be done.\n"+
			"If the directory is not first on the PATH of this terminal, that is only a warning.", a.shimStatus)
	add("remove", "remove the links until the next deploy",
		"Remove the links. No command deploys them again until `shim deploy`. Your own files in the directory stay.", a.shimRemove)
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
	if err := a.printEither(asJSON, s, show.Shims(s)); err != nil {
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
	text := "Shims: Removed\n"
	if len(kept) > 0 {
		text += "Kept: " + fsdiff.Escape(strings.Join(kept, ", ")) + " (not made by substrate, in " + fsdiff.Escape(a.cfg.ShimDir) + ")\n"
	}
	return a.printEither(asJSON, struct {
		State    string   `json:"state"`
		Location string   `json:"location"`
		Kept     []string `json:"kept"`
	}{shim.StateNotDeployed, a.cfg.ShimDir, append([]string{}, kept...)}, text)
}

// shimFailure adds the remedy to an error, if one is known.
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
