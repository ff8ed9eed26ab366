package config

import "testing"

func TestShimsFirst(t *testing.T) { // SHM7
	const dir = "/h/.substrate/shims"
	tests := []struct{ path, dir, first, original string }{
		{"/usr/bin:/bin", dir, dir + ":/usr/bin:/bin", "/usr/bin:/bin"},
		{dir + ":/bin", dir, dir + ":/bin", "/bin"},
		{"/bin:" + dir, dir, dir + ":/bin", "/bin"},
		{"/bin:" + dir + "/:/sbin:" + dir + "//:" + dir, dir, dir + ":/bin:/sbin", "/bin:/sbin"},
		{dir + ":" + dir, dir, dir, ""},
		{":/bin::" + dir + ":", dir, dir + "::/bin::", ":/bin::"},
		{dir + ":", dir, dir + ":", ""},
		{dir + "-old:/bin:/x" + dir, dir, dir + ":" + dir + "-old:/bin:/x" + dir, dir + "-old:/bin:/x" + dir},
		{"/other/.substrate/shims:/bin", dir, dir + ":/other/.substrate/shims:/bin", "/other/.substrate/shims:/bin"},
		{"/bin", "/h o\nm\u00e9/shims", "/h o\nm\u00e9/shims:/bin", "/bin"},
		{"", dir, "", ""},
		{"/bin", "", "/bin", "/bin"},
		{"/bin", "/a:b/shims", "/bin", "/bin"},
	}
	for _, test := range tests {
		first, original := ShimsFirst(test.path, test.dir)
		if first != test.first || original != test.original {
			t.Errorf("ShimsFirst(%q, %q) = %q, %q; want %q, %q", test.path, test.dir, first, original, test.first, test.original)
		}
		if again, same := ShimsFirst(first, test.dir); again != first || same != original {
			t.Errorf("ShimsFirst(%q, %q) = %q, %q; want the same again", first, test.dir, again, same)
		}
	}
}
