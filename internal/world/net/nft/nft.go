// Package nft holds the firewall rules of a world.
//
// [Table] returns the rules as a [Ruleset], and [Ruleset.Batch] turns that into the bytes of one
// nf_tables transaction, which makes either the whole table or nothing. The rules belong to the
// network namespace of the world and end with it. Never send them to the namespace of the host.
//
// Words: a rule is a list of expressions. An expression loads something into a register, compares
// it, or decides (nft(8) calls the last a statement). The rules recognise loopback by address, not
// by interface: the world's default routes lead over lo too (see package netns), so `oif lo` would
// let everything pass. Package netlog reads what the rules report.
//
// The bytes of the batch are built by hand, because the process that sends them may not allocate.
// Libraries do not fit: knftables runs nft(8), which takes 37 ms for a set, and google/nftables
// opens connections of its own. Tests compare the result with `nft list`.
package nft

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// MaxName is the length of the longest name that [Table] accepts: the name of a table, with our
// prefix, stays under 64 characters.
const MaxName = 63 - len(prefix)

// The names inside a table.
const (
	Allowed4 = "allowed4" // set of IPv4 networks that may be reached
	Allowed6 = "allowed6" // the same for IPv6
	Chain    = "egress"
)

const prefix = "substrate_"

// ErrName is the error for a name that cannot be part of a table's name.
var ErrName = errors.New("not a name for a table")

// Ruleset is one table with its sets and its chain.
type Ruleset struct {
	Table string // of the family inet
	Sets  []Set
	Rules []Rule // of the chain egress, in order
}

// Set is a set of networks, empty at first.
type Set struct {
	Name string
	V6   bool // holds IPv6 networks, else IPv4
}

// Rule is one rule.
type Rule struct {
	Text  string // as nft(8) writes it
	exprs []expr
}

// Table returns the rules of the world with that name: the table inet substrate_NAME with the sets
// [Allowed4] and [Allowed6] and one chain on the output hook. The chain accepts what goes to
// loopback, to one of the addresses own or to a member of the sets, replies, and the resets and
// unreachables that its last rules make. It reports every other packet to the NFLOG group, writes
// up to ten a second to the kernel's log, and rejects it. Without an IPv6 address in own it has no
// parts for IPv6. The name must match [A-Za-z0-9_]{1,[MaxName]}, else the error is [ErrName].
func Table(name string, group uint16, own ...netip.Addr) (Ruleset, error) {
	if name == "" || len(name) > MaxName || strings.Trim(name, nameBytes) != "" {
		return Ruleset{}, fmt.Errorf("%w: %q", ErrName, name)
	}
	v6 := false
	for _, a := range own {
		v6 = v6 || a.Is6()
	}
	r := Ruleset{Table: prefix + name, Sets: []Set{{Name: Allowed4}}}
	r.Rules = append(make([]Rule, 0, 16), toLoopback4())
	if v6 {
		r.Sets = append(r.Sets, Set{Name: Allowed6, V6: true})
		r.Rules = append(r.Rules, toAddr(netip.IPv6Loopback()))
	}
	for _, a := range own {
		r.Rules = append(r.Rules, toAddr(a))
	}
	r.Rules = append(r.Rules, replies(), toSet(Allowed4, false))
	if v6 {
		r.Rules = append(r.Rules, toSet(Allowed6, true))
	}
	r.Rules = append(r.Rules, resets(), unreachable4())
	if v6 {
		r.Rules = append(r.Rules, unreachable6())
	}
	r.Rules = append(r.Rules, nflog(group), kernelLog("substrate-dropped-"+name+" "), rejectTCP(), rejectRest())
	return r, nil
}

const nameBytes = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_"
