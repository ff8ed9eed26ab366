package vault

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func TestVaultOfParallelWriters(t *testing.T) { // REC10
	vault := filepath.Join(t.TempDir(), "vault.jsonl")
	if err := os.WriteFile(vault, []byte(`{"vault_schema_version":1,"span_id":"torn","val`), 0o644); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			id := fmt.Sprintf("spn_%032d", i)
			for n := range 20 {
				if err := write(vault, id, n+1, []string{fmt.Sprint("value ", i, n, "\xff")}, false); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	for i := range 16 {
		values, err := read(vault, fmt.Sprintf("spn_%032d", i))
		if len(values) != 20 || err != nil || values[7] != fmt.Sprint("value ", i, 6, "\xff") {
			t.Errorf("span %d has %d values: %v", i, len(values), err)
		}
	}
	if st, err := os.Stat(vault); err != nil || st.Mode() != 0o600 {
		t.Errorf("vault: %v, %v, want mode 0600", st.Mode(), err)
	}
}
