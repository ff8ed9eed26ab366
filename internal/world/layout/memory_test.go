package layout

import (
	"slices"
	"testing"
)

// WLD2: what a user may write goes to disk, however little it is. Only uppers that can hardly be
// written to are in memory.
func TestUppersInMemory(t *testing.T) {
	m := &machineFile{cwd: "/home/me", mountinfo: []byte("1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 8:2 / /ro ro - ext4 /dev/b rw\n"), tree: `
		d 0755 0 /usr
		d 0755 0 /usr/bin
		d 0755 0 /home
		d 0700 1000 /home/me
		d 1777 0 /tmp
		d 0755 0 /var
		d 0755 0 /var/lib
		d 1777 0 /var/tmp
		d 0755 0 /opt
		d 0755 0 /opt/tool
		d 0755 0 /srv
		f 0644 1000 10 /srv/mine
		d 0755 0 /data
		f 0666 0 10 /data/shared
		d 0755 0 /pool
		d 0755 1000 /pool/me
		d 0777 0 /ro
	`}
	in, _ := m.input(t, 1000)
	plan, err := Make(in)
	if err != nil {
		t.Fatal(err)
	}
	var memory, disk []string
	for _, up := range plan.Uppers {
		if up.InMemory {
			memory = append(memory, up.Path)
		} else {
			disk = append(disk, up.Path)
		}
	}
	slices.Sort(memory)
	slices.Sort(disk)
	if want := []string{"/opt", "/ro", "/usr", "/var"}; !slices.Equal(memory, want) {
		t.Errorf("uppers in memory are of %q, want %q", memory, want)
	}
	if want := []string{"/data", "/home", "/pool", "/srv", "/tmp", "/var/tmp"}; !slices.Equal(disk, want) {
		t.Errorf("uppers on disk are of %q, want %q", disk, want)
	}
}
