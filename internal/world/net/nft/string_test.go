package nft

import (
	"fmt"
	"strings"
)

// String returns the ruleset as `nft list ruleset` prints it.
func (r Ruleset) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table inet %s {\n", r.Table)
	for _, s := range r.Sets {
		typ := "ipv4_addr"
		if s.V6 {
			typ = "ipv6_addr"
		}
		fmt.Fprintf(&b, "\tset %s {\n\t\ttype %s\n\t\tflags interval\n\t}\n\n", s.Name, typ)
	}
	fmt.Fprintf(&b, "\tchain %s {\n\t\ttype filter hook output priority filter; policy accept;\n", Chain)
	for _, rule := range r.Rules {
		fmt.Fprintf(&b, "\t\t%s\n", rule.Text)
	}
	b.WriteString("\t}\n}\n")
	return b.String()
}
