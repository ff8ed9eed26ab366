package plain

// File is what tells one file, and one content of it, from another.
type File struct {
	Dev, Ino uint64
	Size     int64
	Mtime    int64 // ns since 1970
	Path     string
}

// Stamp appends the text that the symbolic link .stamp holds:
//
//	VERSION:DEV:INO:SIZE:MTIME_NS:PATH
//
// in decimal numbers as stat(2) gives them, for the substrate-shim that the links lead to. To
// compare it costs one readlink and one stat. A link cannot be read half written, and takes no
// second block of the disk. The path is part of it because a directory that was moved keeps all
// the rest.
func (b *Buffer) Stamp(version string, f File) *Buffer {
	b.Raw(version).Byte(':').padded(f.Dev, 1).Byte(':').padded(f.Ino, 1)
	return b.Byte(':').Int(f.Size).Byte(':').Int(f.Mtime).Byte(':').Raw(f.Path)
}

// Newer returns the program that the shims with a stamp lead to if that program is at least as new
// as the version here and lies at another path. While it is there its shims stay as they are: two
// installations that share a home would else deploy in turn. The result is "" if the program
// at path should deploy.
func Newer(stamp, version, path string) string {
	deployedBy, next := Part(stamp, 0, ':')
	for range 4 {
		if next > len(stamp) {
			return ""
		}
		_, next = Part(stamp, next, ':')
	}
	if next > len(stamp) || Same(stamp[next:], path) || CompareVersions(deployedBy, version) < 0 {
		return ""
	}
	return stamp[next:]
}

// CompareVersions is negative if version a is older than b, and 0 if neither is older: numbers
// between dots are compared one by one, a version with a pre-release behind "-" is older than the
// same one without, and what follows "+" does not count.
//
// Source: Semantic Versioning 2.0.0, section 11. Pre-releases are compared like versions.
func CompareVersions(a, b string) int {
	a, _ = Part(a, 0, '+')
	b, _ = Part(b, 0, '+')
	coreA, preA := Part(a, 0, '-')
	coreB, preB := Part(b, 0, '-')
	if c := compareDotted(coreA, coreB); c != 0 {
		return c
	}
	switch {
	case preA > len(a) && preB > len(b):
		return 0
	case preA > len(a):
		return 1
	case preB > len(b):
		return -1
	}
	return compareDotted(a[preA:], b[preB:])
}

// compareDotted compares the parts between dots: numbers by value, and before all other text.
func compareDotted(a, b string) int {
	for i, j := 0, 0; i <= len(a) || j <= len(b); {
		if i > len(a) || j > len(b) {
			return len(a) - i - (len(b) - j) // the one with more parts is newer
		}
		var partA, partB string
		partA, i = Part(a, i, '.')
		partB, j = Part(b, j, '.')
		numberA, isNumberA := Decimal(partA)
		numberB, isNumberB := Decimal(partB)
		c := Compare(partA, partB)
		switch {
		case isNumberA && isNumberB:
			c = int(numberA - numberB)
		case isNumberA:
			c = -1
		case isNumberB:
			c = 1
		}
		if c != 0 {
			return c
		}
	}
	return 0
}

// Decimal is the number that s is in decimal digits. It is not ok with no digits, or more than 9.
func Decimal(s string) (n int64, ok bool) {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n, s != "" && len(s) <= 9
}
