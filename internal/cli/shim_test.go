package cli

import (
	"testing"
	"time"

	"substrate/internal/shim"
	"substrate/internal/show"
)

// SHM4: scripts depend on these words.
func TestShimText(t *testing.T) { // SHM4
	when := time.Date(2025, 9, 10, 4, 20, 33, 0, time.FixedZone("", 2*3600))
	base := shim.Status{
		State: shim.StateDeployed, UpToDate: true, Version: "0.1.1", CurrentVersion: "0.1.1", DeployedAt: &when,
		Location: "/home/u/.substrate/shims", Commands: []string{"git", "npm", "node"}, PathFirst: true, PathStart: "/home/u/.substrate/shims",
	}
	head := "Shims: Deployed\nVersion: 0.1.1\nDeployed: 2025-09-10 02:20:33 UTC\nLocation: /home/u/.substrate/shims\n"
	path := "PATH: OK (/home/u/.substrate/shims is first)\n"
	tests := []struct {
		name   string
		change func(s *shim.Status)
		want   string
	}{
		{"up to date", func(*shim.Status) {}, head + "Commands: 3 shims\n" + path + "Status: Up to date\n"},
		{
			"older or newer", func(s *shim.Status) { s.UpToDate, s.Drifted, s.CurrentVersion = false, true, "0.2.0" },
			head + "Commands: 3 shims\n" + path + "Status: Update available (current: 0.2.0)\n",
		},
		{
			"a newer version stays", func(s *shim.Status) { s.CurrentVersion = "0.1.0" },
			head + "Commands: 3 shims\n" + path + "Status: Deployed by version 0.1.1 (current: 0.1.0)\n",
		},
		{
			"missing", func(s *shim.Status) {
				s.State, s.UpToDate, s.Missing = shim.StateIncomplete, false, []string{"npm", "node"}
			},
			"Shims: Deployed (incomplete)" + head[len("Shims: Deployed"):] + "Commands: 1/3 shims (missing: npm, node)\n" + path + "Status: Needs redeploy\n",
		},
		{
			"wrong, missing and older", func(s *shim.Status) {
				s.State, s.UpToDate, s.Drifted, s.Missing, s.Wrong = shim.StateIncomplete, false, true, []string{"node"}, []string{"git"}
			},
			"Shims: Deployed (incomplete)" + head[len("Shims: Deployed"):] + "Commands: 1/3 shims (missing: git, node)\n" + path + "Status: Needs redeploy\n",
		},
		{
			"not wanted", func(s *shim.Status) { s.UpToDate, s.Unwanted = false, []string{"old\n"} },
			head + `Commands: 3 shims (not wanted: old\n)` + "\n" + path + "Status: Needs redeploy\n",
		},
		{
			"not first", func(s *shim.Status) { s.PathFirst, s.PathStart = false, "/usr/bin" },
			head + "Commands: 3 shims\nPATH: WARN (shims dir is not first; current PATH begins with: /usr/bin:...)\nStatus: Up to date\n",
		},
		{
			"hostile home", func(s *shim.Status) { s.Location = "/h\n\xff\x1b" },
			"Shims: Deployed\nVersion: 0.1.1\nDeployed: 2025-09-10 02:20:33 UTC\nLocation: /h\\n\\xff\\x1b\nCommands: 3 shims\nPATH: OK (/h\\n\\xff\\x1b is first)\nStatus: Up to date\n",
		},
		{
			"corrupt", func(s *shim.Status) {
				s.State, s.UpToDate, s.DeployedAt, s.Version = shim.StateIncomplete, false, nil, ""
			},
			"Shims: Deployed (incomplete)\nVersion: unknown\nDeployed: unknown\nLocation: /home/u/.substrate/shims\nCommands: 3 shims\n" + path + "Status: Needs redeploy\n",
		},
		{
			"nothing", func(s *shim.Status) { *s = shim.Status{State: shim.StateNotDeployed} },
			"Shims: Not deployed\nSuggestion: run `substrate` once or `substrate --shim-deploy`\n",
		},
		{
			"off", func(s *shim.Status) { *s = shim.Status{State: shim.StateDisabled} },
			"Shims: Deployment disabled (SUBSTRATE_NO_SHIMS=1)\nStatus: Skipped\n",
		},
	}
	for _, test := range tests {
		s := base
		test.change(&s)
		if got := show.Shims(s); got != test.want {
			t.Errorf("%s:\n%s\nwant:\n%s", test.name, got, test.want)
		}
	}
}
