package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"

	"substrate/internal/plain"
)

// Problem is a variable with an invalid value, which counts as not set. The caller prints it.
type Problem struct {
	Name   string // of the variable
	Value  string // as it stands in the environment: any bytes, of any length
	Want   string // what it may be: "1 or 0"
	Used   string // what counts instead, as it could stand in the environment
	Worlds bool   // only replays and worlds look at the variable
}

// settings reads the variables that people set, and keeps the invalid ones. Those by which our own
// programs find each other (REC8) are not among them.
type settings struct {
	vars
	problems []Problem
}

// flag reads what is off unless it is switched on.
func (s *settings) flag(name string) bool {
	on, valid := plain.Switch(s.vars[name])
	if !valid {
		s.reject(name, "1 or 0", "0")
	}
	return on
}

// switchedOff reads what is on unless it is switched off.
func (s *settings) switchedOff(name string) bool {
	switch s.vars[name] {
	case "off", "0", "false", "no":
		return true
	case "", "on", "1", "true", "yes":
	default:
		s.reject(name, "on or off", "on")
	}
	return false
}

// count reads a number from 0 on.
func (s *settings) count(name string, otherwise int) int {
	value := s.vars[name]
	if value == "" {
		return otherwise
	}
	n, err := strconv.Atoi(value)
	switch {
	case errors.Is(err, strconv.ErrRange) && n > 0:
		s.reject(name, fmt.Sprintf("a whole number up to %d", math.MaxInt), strconv.Itoa(otherwise))
	case err != nil || n < 0:
		s.reject(name, "a whole number, 0 or more", strconv.Itoa(otherwise))
	default:
		return n
	}
	return otherwise
}

// reject takes note of a value that makes no sense.
func (s *settings) reject(name, want, used string) {
	s.problems = append(s.problems, Problem{Name: name, Value: s.vars[name], Want: want, Used: used, Worlds: ofWorlds(name)})
}

// ofWorlds reports whether only replays and worlds look at a variable.
func ofWorlds(name string) bool {
	switch name {
	case plain.VarUseWorld, plain.VarRequireWorld, "SUBSTRATE_FS_DIFF_MAX", "SUBSTRATE_WORLD_MAX":
		return true
	}
	return false
}
