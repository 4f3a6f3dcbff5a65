package model

import (
	"fmt"
	"strings"

	"github.com/tidwall/gjson"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// checkParameters looks at the rules for bodies: that each says what its action needs and no more, that values are JSON,
// and that what routing and metering read stays as it is.
func checkParameters(c *resourcev1.Channel) error {
	for i, r := range c.GetParameters() {
		field := fmt.Sprintf("parameters[%d]", i)
		if ownedParameter(r.GetPath()) {
			return invalid(field+".path", "%q is Fairway's own and cannot be changed", r.GetPath())
		}
		value := field + ".value"
		switch r.GetAction() {
		case resourcev1.RuleAction_RULE_ACTION_SET, resourcev1.RuleAction_RULE_ACTION_DEFAULT:
			if !gjson.Valid(r.GetValue()) {
				return invalid(value, "is not JSON; a text needs quotes: \"high\"")
			}
		case resourcev1.RuleAction_RULE_ACTION_REMOVE:
			if r.GetValue() != "" {
				return invalid(value, "is given, but what is removed needs none")
			}
		case resourcev1.RuleAction_RULE_ACTION_RENAME:
			switch to := r.GetValue(); {
			case !bodyPath(to):
				return invalid(value, "%q is not a path, such as max_tokens or generationConfig.topK", to)
			case ownedParameter(to):
				return invalid(value, "%q is Fairway's own and cannot be changed", to)
			case within(to, r.GetPath()) || within(r.GetPath(), to):
				return invalid(value, "%q and %q are one inside the other", r.GetPath(), to)
			}
		default:
			return invalid(field+".action", "is not set, remove, default or rename")
		}
	}
	return nil
}

// ownedParameter names what routing and metering decide by.
func ownedParameter(path string) bool { return within(path, "model") || within(path, "stream") }

// within says whether path is parent or below it.
func within(path, parent string) bool {
	rest, ok := strings.CutPrefix(path, parent)
	return ok && (rest == "" || rest[0] == '.')
}

// bodyPath is the rule that the .proto file has for paths: names with dots between them.
func bodyPath(path string) bool {
	if len(path) > 256 {
		return false
	}
	for name := range strings.SplitSeq(path, ".") {
		if name == "" {
			return false
		}
		for i := range len(name) {
			c := name[i]
			if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}

// checkHeaderRules refuses what checkHeaders does, because a rule can do what a header can.
func checkHeaderRules(c *resourcev1.Channel) error {
	for i, r := range c.GetHeaderRules() {
		field := fmt.Sprintf("header_rules[%d]", i)
		if why := refusedHeader(r.GetName(), r.GetValue()); why != "" {
			return invalid(field, "%s", why)
		}
		switch r.GetAction() {
		case resourcev1.RuleAction_RULE_ACTION_SET, resourcev1.RuleAction_RULE_ACTION_DEFAULT:
			if r.GetValue() == "" {
				return invalid(field+".value", "is empty; to send no %s, remove it", r.GetName())
			}
		case resourcev1.RuleAction_RULE_ACTION_REMOVE:
			if r.GetValue() != "" {
				return invalid(field+".value", "is given, but what is removed needs none")
			}
		default:
			return invalid(field+".action", "is not set, remove or default")
		}
	}
	return nil
}
