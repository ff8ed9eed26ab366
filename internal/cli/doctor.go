package cli

import (
	"github.com/spf13/cobra"

	"substrate/internal/doctor"
	"substrate/internal/rerun"
)

// worldDoctorCommand is `world doctor`, also spelled --doctor.
func worldDoctorCommand(a *app) *cobra.Command {
	var asJSON, schema bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "what this machine can do for worlds, by trying, and what would help",
		Long: `Try everything that worlds are made of, on this machine and as this user, and print a table: PASS, WARN or FAIL,
what was found, and what would help. The checks are those that choose the strategy of a world, so what stands here is what
a replay gets. Nothing is left behind.

The exit status is 1 only if neither overlay nor fuse can be used and SUBSTRATE_REPLAY_USE_WORLD=1 asks for worlds.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if schema {
				return a.print(string(doctor.Schema()))
			}
			return a.doctor(asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	cmd.Flags().BoolVar(&schema, "json-schema", false, "print the JSON Schema of --json and exit")
	return cmd
}

// doctor prints the report and decides the exit status (DOC3).
func (a *app) doctor(asJSON bool) error {
	r := doctor.Run(doctor.Host{Dirs: rerun.Dirs(a.cfg), Root: a.cfg.Root, Bus: a.cfg.Bus})
	var err error
	if asJSON {
		err = a.printJSON(r)
	} else {
		err = a.print(r.Text())
	}
	if r.OK || err != nil {
		return err
	}
	a.warn("neither overlay nor fuse can be used here; a replay in a world gets %s", r.Strategy)
	if a.cfg.UseWorld {
		a.status = 1
	}
	return nil
}
