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
		Short: "show what worlds can use on this machine, with fixes",
		Long: `Try everything that worlds are made of, on this machine and as this user, and print a table: PASS, WARN or FAIL,
the result, and a fix. Worlds choose their strategy by the same checks, so the table shows what a world
would use. Nothing is left behind.

The exit status is 1 only if neither overlay nor fuse works and SUBSTRATE_REPLAY_USE_WORLD=1 asks for worlds.`,
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
	err := a.printEither(asJSON, r, r.Text())
	if r.OK || err != nil {
		return err
	}
	a.warn("neither overlay nor fuse works here; worlds use %s", r.Strategy)
	if a.cfg.UseWorld {
		a.status = 1
	}
	return nil
}
