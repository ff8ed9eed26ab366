package show

import (
	"fmt"
	"strings"

	"substrate/fsdiff"
	"substrate/internal/shim"
)

// Shims is the status of the shims.
//
// Source: SHM4, where scripts find these words.
func Shims(s shim.Status) string {
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

// shimCount is the number of links that are right, and the names of those that are not.
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
	case s.UpToDate && s.Version != s.CurrentVersion:
		return "Deployed by version " + fsdiff.Escape(s.Version) + " (current: " + s.CurrentVersion + ")"
	case s.UpToDate:
		return "Up to date"
	case s.State == shim.StateIncomplete || !s.Drifted:
		return "Needs redeploy"
	}
	return "Update available (current: " + s.CurrentVersion + ")"
}
