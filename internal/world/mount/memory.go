package mount

// Memory asks for a tmpfs that holds the uppers. The supervisor gets its root directory as a
// descriptor and reads it through that after the world is gone; with the last descriptor it
// vanishes.
type Memory struct {
	Dir  string      // existing directory of the host on which it is mounted, seen by the world's set-up alone
	Data string      // options of the tmpfs
	Dirs []MemoryDir // made in it, in this order
}

// MemoryDir is a directory in a Memory.
type MemoryDir struct {
	Path     string // below Memory.Dir, absolute
	Mode     uint32
	UID, GID int // -1 leaves the owner alone
}
