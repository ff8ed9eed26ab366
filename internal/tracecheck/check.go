package tracecheck

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// finding is one thing that is wrong with a value.
type finding struct {
	pointer string // RFC 6901
	message string
}

// checker checks values against the schemas of one file.
type checker struct {
	all  *loaded
	root *schema
}

// check returns what is wrong with v, whose pointer is at.
func (c checker) check(s *schema, v any, at string) []finding {
	if s.never {
		return []finding{{at, "is not allowed here"}}
	}
	var found []finding
	if s.Ref != "" {
		target, root := c.all.resolve(c.root, s.Ref)
		found = checker{c.all, root}.check(target, v, at)
	}
	if s.Type != "" && !hasType(v, s.Type) {
		// The other keywords assume the right type.
		return append(found, finding{at, fmt.Sprintf("is %s, want %s", typeOf(v), s.Type)})
	}
	if s.Const != nil && !reflect.DeepEqual(v, s.Const) {
		found = append(found, finding{at, fmt.Sprintf("is %s, want %s", show(v), show(s.Const))})
	}
	if s.Enum != nil && !slices.ContainsFunc(s.Enum, func(e any) bool { return reflect.DeepEqual(v, e) }) {
		found = append(found, finding{at, fmt.Sprintf("is %s, want one of %s", show(v), show(s.Enum))})
	}
	switch v := v.(type) {
	case string:
		found = append(found, checkString(s, v, at)...)
	case json.Number:
		found = append(found, checkNumber(s, v, at)...)
	case []any:
		found = append(found, c.checkArray(s, v, at)...)
	case map[string]any:
		found = append(found, c.checkObject(s, v, at)...)
	}
	return append(found, c.checkCombined(s, v, at)...)
}

func checkString(s *schema, v, at string) []finding {
	if utf8.RuneCountInString(v) < s.MinLength {
		return []finding{{at, fmt.Sprintf("is shorter than %d characters", s.MinLength)}}
	}
	if s.Pattern != nil && !s.Pattern.MatchString(v) {
		return []finding{{at, fmt.Sprintf("%s does not match %s", show(v), s.Pattern)}}
	}
	return nil
}

func checkNumber(s *schema, v json.Number, at string) []finding {
	n, err := v.Float64()
	switch {
	case err != nil:
		return []finding{{at, fmt.Sprintf("%s is out of range", v)}}
	case s.Minimum != nil && n < *s.Minimum:
		return []finding{{at, fmt.Sprintf("is %s, want at least %v", v, *s.Minimum)}}
	case s.Maximum != nil && n > *s.Maximum:
		return []finding{{at, fmt.Sprintf("is %s, want at most %v", v, *s.Maximum)}}
	}
	return nil
}

func (c checker) checkArray(s *schema, v []any, at string) []finding {
	var found []finding
	if len(v) < s.MinItems {
		found = append(found, finding{at, fmt.Sprintf("has %d items, want at least %d", len(v), s.MinItems)})
	}
	if s.Items != nil {
		for i, item := range v {
			found = append(found, c.check(s.Items, item, at+"/"+strconv.Itoa(i))...)
		}
	}
	return found
}

func (c checker) checkObject(s *schema, v map[string]any, at string) []finding {
	var found []finding
	for _, name := range s.Required {
		if _, ok := v[name]; !ok {
			found = append(found, finding{at + "/" + escape(name), "is missing"})
		}
	}
	for name := range v { // in any order, since nearly always nothing is wrong
		if len(c.checkProperty(s, v, name, at)) > 0 {
			for _, name := range slices.Sorted(maps.Keys(v)) {
				found = append(found, c.checkProperty(s, v, name, at)...)
			}
			break
		}
	}
	return found
}

func (c checker) checkProperty(s *schema, v map[string]any, name, at string) []finding {
	sub, known := s.Properties[name]
	if !known {
		sub = s.AdditionalProperties
	}
	if sub == nil {
		return nil
	}
	return c.check(sub, v[name], at+"/"+escape(name))
}

// checkCombined applies the keywords that hold other schemas for the same value.
func (c checker) checkCombined(s *schema, v any, at string) []finding {
	var found []finding
	for _, sub := range s.AllOf {
		found = append(found, c.check(sub, v, at)...)
	}
	if s.AnyOf != nil {
		found = append(found, c.checkAny(s.AnyOf, v, at)...)
	}
	if s.If != nil {
		branch := s.Then
		if len(c.check(s.If, v, at)) > 0 {
			branch = s.Else
		}
		if branch != nil {
			found = append(found, c.check(branch, v, at)...)
		}
	}
	return found
}

// checkAny returns nothing if v fits one of the alternatives. Otherwise it returns what is wrong
// for the nearest one: that whose first finding lies deepest.
func (c checker) checkAny(alternatives []*schema, v any, at string) []finding {
	var nearest []finding
	for _, sub := range alternatives {
		found := c.check(sub, v, at)
		if len(found) == 0 {
			return nil
		}
		if nearest == nil || len(found[0].pointer) >= len(nearest[0].pointer) {
			nearest = found
		}
	}
	return nearest
}

func hasType(v any, want string) bool {
	got := typeOf(v)
	return got == want || got == "integer" && want == "number"
}

// typeOf names the type of v. A number without a fraction is an integer, also if it is written as
// 1.0.
func typeOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case []any:
		return "array"
	case map[string]any:
		return "object"
	case json.Number:
		n, err := v.Float64()
		if _, intErr := v.Int64(); intErr == nil || err == nil && n == float64(int64(n)) {
			return "integer"
		}
		return "number"
	}
	return fmt.Sprintf("%T", v)
}

// show returns v as JSON, cut if it is long.
func show(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	const limit = 120
	if len(text) > limit {
		return strings.ToValidUTF8(string(text[:limit]), "") + "…"
	}
	return string(text)
}

// escape returns a name as it stands in a JSON pointer.
//
// Source: RFC 6901, section 3.
func escape(name string) string {
	if !strings.ContainsAny(name, "~/") {
		return name
	}
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
}
