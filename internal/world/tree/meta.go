package tree

import (
	"time"

	"golang.org/x/sys/unix"

	"substrate/fsdiff"
)

// TimeText writes a time as an entry of a diff has it.
func TimeText(sec, nsec int64) string {
	return time.Unix(sec, nsec).UTC().Format("2006-01-02T15:04:05.000000000Z")
}

// Octal writes the permission bits as an entry has them: "0644".
func Octal(mode uint32) string {
	digit := func(shift uint) byte { return '0' + byte(mode>>shift&7) }
	return string([]byte{digit(9), digit(6), digit(3), digit(0)})
}

// FileType translates the type of stat(2).
func FileType(mode uint32) fsdiff.FileType {
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return fsdiff.Dir
	case unix.S_IFLNK:
		return fsdiff.Symlink
	case unix.S_IFIFO:
		return fsdiff.Fifo
	case unix.S_IFSOCK:
		return fsdiff.Socket
	case unix.S_IFCHR:
		return fsdiff.Char
	case unix.S_IFBLK:
		return fsdiff.Block
	}
	return fsdiff.File
}
