package layout

// class is how a world can show a file system.
type class uint8

const (
	real   class = iota // can be the lower of an overlay
	unfit               // local, but the overlay refuses it: a read-only bind
	remote              // may hang, so it is never asked anything: a read-only bind with all that is below
	pseudo              // the kernel's own: made new, or hidden
)

// classes lists the known file systems. Others are unfit: before a world may write to one, we must
// know that an overlay accepts it, and that it does not leak the state of the host.
//
// Source: Linux fs/overlayfs/super.c, ovl_mount_dir_noesc and ovl_dentry_weird: no lower that
// compares names in its own way, such as vfat.
var classes = map[string]class{
	"ext2": real, "ext3": real, "ext4": real, "xfs": real, "btrfs": real, "tmpfs": real, "ramfs": real, "rootfs": real,
	"overlay": real, "virtiofs": real, "f2fs": real, "zfs": real, "bcachefs": real, "jfs": real, "reiserfs": real,
	"nilfs2": real, "ocfs2": real, "ubifs": real, "aufs": real, "shiftfs": real,
	"squashfs": real, "erofs": real, "iso9660": real, "udf": real, "cramfs": real, "romfs": real,

	"nfs": remote, "nfs4": remote, "cifs": remote, "smb3": remote, "smbfs": remote, "ceph": remote, "9p": remote, "afs": remote,
	"lustre": remote, "gpfs": remote, "gfs2": remote, "coda": remote, "ncpfs": remote, "orangefs": remote, "pvfs2": remote,
	"beegfs": remote, "glusterfs": remote, "panfs": remote, "vboxsf": remote, "vmhgfs": remote, "prl_fs": remote, "drvfs": remote,
	"fuse": remote, "fuseblk": remote, "autofs": remote,

	"proc": pseudo, "sysfs": pseudo, "devtmpfs": pseudo, "devpts": pseudo, "cgroup": pseudo, "cgroup2": pseudo, "cpuset": pseudo,
	"securityfs": pseudo, "debugfs": pseudo, "tracefs": pseudo, "configfs": pseudo, "pstore": pseudo, "bpf": pseudo,
	"efivarfs": pseudo, "fusectl": pseudo, "mqueue": pseudo, "hugetlbfs": pseudo, "binfmt_misc": pseudo, "selinuxfs": pseudo,
	"smackfs": pseudo, "rpc_pipefs": pseudo, "nfsd": pseudo, "nsfs": pseudo, "pidfs": pseudo, "resctrl": pseudo, "binder": pseudo, "usbfs": pseudo,
	"functionfs": pseudo, "ipathfs": pseudo, "xenfs": pseudo, "dax": pseudo,
}

// class returns how a world can show the file system of n. The one at "/" is used whatever it is:
// there is no world without it.
func (n *node) class() class {
	c, known := classes[n.fstype]
	switch {
	case n.path == "/" && c != pseudo:
		return real
	case known:
		return c
	case len(n.fstype) > 5 && n.fstype[:5] == "fuse.":
		return remote
	default:
		return unfit
	}
}

// fresh are the directories that are new in every world, with nothing from the host in them.
var fresh = [...]string{"/proc", "/sys", "/dev", "/run"}

// varRun is the old name of /run: a symlink, or on some machines a mount.
const varRun = "/var/run"

// isFresh reports whether name is in a directory that is made new, or is one.
func (p *planner) isFresh(name string) bool {
	for _, dir := range fresh {
		if within(name, dir) {
			return true
		}
	}
	return within(name, varRun) && p.varRunMounted()
}

// varRunMounted reports whether the host has a mount at varRun.
func (p *planner) varRunMounted() bool {
	n, _ := p.mountOf(varRun)
	return n.path == varRun
}
