package shim

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"substrate/internal/config"
	"substrate/internal/plain"
	"substrate/internal/version"
)

// defaultCommands are the programs that get a shim unless the settings say otherwise.
//
// Source: SHM2.
var defaultCommands = []string{
	"git", "npm", "npx", "node", "pnpm", "bun", "python", "python3", "pip", "pip3", "jq", "curl", "wget", "tar", "unzip", "make", "go",
	"cargo", "deno", "docker", "kubectl", "rg", "fd", "bat", "codex",
}

// wanted returns the commands of the settings, each once.
func wanted(s config.ShimSettings) []string {
	names := make([]string, 0, len(defaultCommands)+len(s.Add))
	for _, name := range append(slices.Clone(defaultCommands), s.Add...) {
		if !slices.Contains(s.Remove, name) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// metadata is the content of the file .version: what was deployed.
//
// Source: SHM3; SHM5 for Programs.
type metadata struct {
	Version  string            `json:"version"`
	Time     time.Time         `json:"time"` // UTC, whole seconds
	Commands []string          `json:"commands"`
	Target   string            `json:"target"` // path of substrate-shim; bytes that are not UTF-8 are replaced
	Hash     string            `json:"hash"`   // "sha256:" and its hex digits, of that file
	Programs map[string]string `json:"programs"`
}

// errCorrupt is wrapped by the error for an invalid .version.
var errCorrupt = errors.New("not the metadata of a deployment")

// maxMetadata is in bytes, and more than any real .version has.
const maxMetadata = 1 << 20

// readMetadata reads dir/.version. The error wraps fs.ErrNotExist, or errCorrupt for an invalid
// file.
func readMetadata(dir string) (metadata, error) {
	path := filepath.Join(dir, plain.MetadataName)
	st, err := os.Stat(path)
	if err != nil {
		return metadata{}, err
	}
	if !st.Mode().IsRegular() || st.Size() > maxMetadata { // a FIFO would hang us
		return metadata{}, fmt.Errorf("read %s: %w", path, errCorrupt)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return metadata{}, err
	}
	var m metadata
	if err := json.Unmarshal(text, &m); err != nil {
		return metadata{}, fmt.Errorf("read %s: %w: %v", path, errCorrupt, err)
	}
	if m.Version == "" || m.Target == "" || m.Hash == "" || len(m.Commands) == 0 || m.Time.IsZero() {
		return metadata{}, fmt.Errorf("read %s: %w: a field is missing", path, errCorrupt)
	}
	return m, nil
}

// same reports whether m was deployed by this version, from this file with this content, for this
// list.
func (m metadata) same(b binary, hash string, commands []string) bool {
	return m.Version == version.Version && m.Target == strings.ToValidUTF8(b.Path, "\ufffd") && m.Hash == hash &&
		slices.Equal(m.Commands, commands)
}

// text returns the content of the file.
func (m metadata) text() ([]byte, error) {
	text, err := json.MarshalIndent(m, "", "  ")
	return append(text, '\n'), err
}

// hash returns the SHA-256 of the file.
func (b binary) hash() (string, error) {
	f, err := os.Open(b.Path)
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // it was only read
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", fmt.Errorf("read %s: %w", b.Path, err)
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil)), nil
}
