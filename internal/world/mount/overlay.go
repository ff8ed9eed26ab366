package mount

import (
	"fmt"
	"os"
	"strings"
)

// Options of overlay mounts besides the directories, to be given as Data.
//
// index keeps hard links together, redirect_dir lets a directory be renamed, and
// without xino the kernel log stays quiet. volatile leaves out every sync: an upper
// that a power cut interrupts is thrown away anyway. In a user namespace the kernel
// refuses redirect_dir and index, and keeps its marks in user.* attributes.
//
// Source: Linux Documentation/filesystems/overlayfs.rst, "redirect_dir", "index", "Volatile mount",
// "User xattr".
const (
	OptionsRoot = "index=on,xino=off,redirect_dir=on,metacopy=off,volatile"
	OptionsUser = "userxattr,index=off,xino=off,volatile"
)

// overlayEscaper puts a backslash before what the kernel would take for the end of a
// directory or of an option.
//
// Source: Linux fs/overlayfs/params.c, ovl_next_opt, ovl_parse_param_split_lowerdirs and
// ovl_unescape.
var overlayEscaper = strings.NewReplacer(`\`, `\\`, `,`, `\,`, `:`, `\:`)

// OverlayData returns the option string that mount(2) wants for an Overlay. It is an
// error if the string does not fit into one page: the kernel would cut it in silence.
//
// Source: mount(2), "data"; Linux fs/namespace.c, copy_mount_options.
func (m Mount) OverlayData() (string, error) {
	data := "lowerdir=" + overlayEscaper.Replace(m.Lower) +
		",upperdir=" + overlayEscaper.Replace(m.Upper) +
		",workdir=" + overlayEscaper.Replace(m.Work)
	if m.Data != "" {
		data += "," + m.Data
	}
	if limit := os.Getpagesize() - 1; len(data) > limit {
		return "", fmt.Errorf("overlay options for %s: %d bytes, the kernel takes %d", quote(m.Target), len(data), limit)
	}
	return data, nil
}
