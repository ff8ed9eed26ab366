// Package config is the only reader of the environment and of the settings file.
//
// [Load] reads the environment once and returns a value, which also holds every path that substrate
// uses on the host. It creates nothing. [Config.LoadSettings] reads the file.
package config

// Config is what the environment means. Nothing changes it after Load.
type Config struct {
	Home    string // the caller's home directory; "" if there is none
	Dir     string // ~/.substrate; "" without a home and without SHIM_TRACE_LOG
	Trace   string // the trace file: SHIM_TRACE_LOG or Dir/trace.jsonl; "" without a place for one
	ShimDir string // ~/.substrate/shims; "" without a home
	NoShims bool   // SUBSTRATE_NO_SHIMS=1: do not deploy shims or put them first on PATH
	Fsync   bool   // SHIM_FSYNC=1
	MaxMB   int    // TRACE_LOG_MAX_MB, default 100
	Keep    int    // TRACE_LOG_KEEP, default 3
	UID     int    // effective
	GID     int
	Root    bool   // uid 0 with CAP_SYS_ADMIN and CAP_NET_ADMIN
	Shell   string // $SHELL unless that is substrate itself, else /bin/bash
	AgentID string // SUBSTRATE_AGENT_ID, default "human"

	SessionID  string   // SHIM_SESSION_ID; "" if this process starts a session
	ParentSpan string   // SHIM_PARENT_SPAN; "" for none
	Depth      int      // SHIM_DEPTH; 0 for a command that no other recorded command started
	Caller     string   // SHIM_CALLER: the name of the command that started us; "" for none
	CallStack  []string // SHIM_CALL_STACK: the names of all commands above us, the outermost first, at most 8

	Path         string // PATH
	OriginalPath string // SHIM_ORIGINAL_PATH: PATH before the shims were put in front; "" if they were not
	Bypass       bool   // SHIM_BYPASS=1: a shim only executes its program

	InWorld bool // SUBSTRATE_IN_WORLD=1: inside a world, where commands run without being recorded

	UseWorld     bool   // SUBSTRATE_REPLAY_USE_WORLD=1
	RequireWorld bool   // SUBSTRATE_REQUIRE_WORLD=1
	Strategy     string // SUBSTRATE_WORLD_STRATEGY
	DiffMax      int    // SUBSTRATE_FS_DIFF_MAX, default fsdiff.DefaultMax (10,000)
	WorldMax     int    // SUBSTRATE_WORLD_MAX, default 2 × cores

	RunRoot      string   // run-time root: /run/substrate for root; WLD7 for users. Not created, not checked
	RunRoots     []string // all candidates in order; RunRoot is the first
	Bus          string   // D-Bus addresses, separated by ";", at which the caller's systemd may be reached
	OverlayRoots []string // where uppers may lie, in order of preference (WLD6, WLD7); SUBSTRATE_OVERLAY_ROOT alone if set

	NoRedact   bool  // SUBSTRATE_REDACT=off: secrets stay in the trace
	Capture    bool  // SUBSTRATE_CAPTURE=1
	CaptureMax int64 // SUBSTRATE_CAPTURE_MAX: how many bytes of each stream are kept, default 64 KiB

	Log string // SUBSTRATE_LOG

	Problems []Problem // invalid settings, for messages
}
