package ctl

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// asAsked is the stream format that has no other name.
const asAsked = "as-asked"

func streamFormat(s string) (resourcev1.StreamFormat, error) {
	if strings.ReplaceAll(s, "_", "-") == asAsked {
		return resourcev1.StreamFormat_STREAM_FORMAT_UNSPECIFIED, nil
	}
	f, err := enumFlag[resourcev1.StreamFormat](s)
	if err != nil {
		return 0, fmt.Errorf("%q is not one of %s, always, never", s, asAsked)
	}
	return f, nil
}

// none says whether a repeated flag was given once, empty: then it clears the list.
func none(values []string) bool { return len(values) == 1 && values[0] == "" }

// parameterRules reads "set:temperature=0.2", "default:top_k=40", "remove:logprobs" and "rename:max_tokens=limit".
func parameterRules(values []string) ([]*resourcev1.ParameterRule, error) {
	if none(values) {
		return nil, nil
	}
	var rules []*resourcev1.ParameterRule
	for _, v := range values {
		action, path, value, err := rule(v)
		if err != nil {
			return nil, err
		}
		isJSON := action == resourcev1.RuleAction_RULE_ACTION_SET || action == resourcev1.RuleAction_RULE_ACTION_DEFAULT
		if isJSON && !json.Valid([]byte(value)) {
			before, _, _ := strings.Cut(v, "=")
			return nil, fmt.Errorf("%q: %s is not JSON; a text has its quotes: '%s=%q'", v, value, before, value)
		}
		rules = append(rules, &resourcev1.ParameterRule{Action: action, Path: path, Value: value})
	}
	return rules, nil
}

// headerRules reads "set:X-Team=blue", "default:X-Team=blue" and "remove:X-Trace".
func headerRules(values []string) ([]*resourcev1.HeaderRule, error) {
	if none(values) {
		return nil, nil
	}
	var rules []*resourcev1.HeaderRule
	for _, v := range values {
		action, name, value, err := rule(v)
		if err != nil {
			return nil, err
		}
		if action == resourcev1.RuleAction_RULE_ACTION_RENAME {
			return nil, fmt.Errorf("%q: headers are not renamed; remove one and set the other", v)
		}
		rules = append(rules, &resourcev1.HeaderRule{Action: action, Name: name, Value: value})
	}
	return rules, nil
}

// rule takes ACTION:NAME or ACTION:NAME=VALUE apart.
func rule(text string) (action resourcev1.RuleAction, name, value string, err error) {
	word, rest, ok := strings.Cut(text, ":")
	if !ok {
		return 0, "", "", fmt.Errorf("%q: want an action first, such as set:NAME=VALUE or remove:NAME", text)
	}
	if action, err = enumFlag[resourcev1.RuleAction](word); err != nil {
		return 0, "", "", fmt.Errorf("%q: %w", text, err)
	}
	name, value, hasValue := strings.Cut(rest, "=")
	removes := action == resourcev1.RuleAction_RULE_ACTION_REMOVE
	switch {
	case name == "":
		return 0, "", "", fmt.Errorf("%q: names nothing", text)
	case removes && hasValue:
		return 0, "", "", fmt.Errorf("%q: what is removed takes no value", text)
	case !removes && !hasValue:
		return 0, "", "", fmt.Errorf("%q: want %s:%s=VALUE", text, word, name)
	}
	return action, name, value, nil
}

// statusMapping reads {"529": "503"}.
func statusMapping(values map[string]string) (map[uint32]uint32, error) {
	mapping := make(map[uint32]uint32, len(values))
	for from, to := range values {
		a, err := strconv.ParseUint(from, 10, 16)
		b, err2 := strconv.ParseUint(to, 10, 16)
		if errors.Join(err, err2) != nil || a < 400 || a > 599 || b < 400 || b > 599 {
			return nil, fmt.Errorf("%s=%s: want two statuses between 400 and 599, such as 529=503", from, to)
		}
		mapping[uint32(a)] = uint32(b)
	}
	return mapping, nil
}

// promptFile reads a system prompt. A line break at its end is the editor's.
func promptFile(name string) (string, error) {
	raw, err := os.ReadFile(name)
	if err != nil {
		return "", err
	}
	prompt := strings.TrimRight(string(raw), "\r\n")
	if prompt == "" {
		return "", fmt.Errorf("%s is empty", name)
	}
	return prompt, nil
}
