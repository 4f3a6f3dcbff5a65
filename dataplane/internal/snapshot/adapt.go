package snapshot

import (
	"errors"
	"fmt"
	"strings"

	"fairway/dataplane/internal/dialect/edit"
	"fairway/dataplane/internal/provider"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/operation"
)

// adapt compiles what a channel changes in requests: its provider's ways, and its own options.
func (c *Channel) adapt(st *syncv1.ChannelState) error {
	var err error
	c.Adapter, err = provider.New(provider.Channel{
		Provider: st.GetProvider(), Preset: st.GetPreset(), APIVersion: st.GetApiVersion(),
		Region: st.GetRegion(), Project: st.GetProject(), Host: c.BaseURL.Host, Path: c.BaseURL.Path,
	})
	if err != nil {
		return fmt.Errorf("provider: %w", err)
	}
	if d, ok := c.Adapter.(provider.Defaulter); ok {
		for _, h := range d.Defaults() {
			c.Defaults = append(c.Defaults, Header{Name: h.Name, Value: h.Value})
		}
	}
	if o, ok := c.Adapter.(provider.SystemOnly); ok {
		c.SystemOnly = o.SystemOnly()
	}
	if b, ok := c.Adapter.(provider.BetaInBody); ok {
		c.BetaPath = b.BetaPath()
	}
	if r, ok := c.Adapter.(provider.Reasoner); ok {
		c.Reasoning = r.Reasoning()
	}
	own := make([]edit.Rule, 0, len(st.GetParameters()))
	for _, r := range st.GetParameters() {
		if top, _, _ := strings.Cut(r.GetPath(), "."); top == "model" || top == "stream" {
			return fmt.Errorf("parameters: %s cannot be changed", top)
		}
		own = append(own, edit.Rule{Action: resourcev1.RuleAction(r.GetAction()), Path: r.GetPath(), Value: r.GetValue()})
	}
	if c.parameters, err = edit.Compile(own); err != nil {
		return fmt.Errorf("parameters: %w", err)
	}
	for op := range operation.Operation(operation.Count) {
		needed := c.Adapter.Rules(op)
		if len(needed) == 0 {
			continue
		}
		all := make([]edit.Rule, 0, len(needed)+len(own))
		for _, r := range needed {
			all = append(all, edit.Rule{Action: resourcev1.RuleAction(r.Action), Path: r.Path, Value: r.Value})
		}
		if c.edits == nil {
			c.edits = make(map[operation.Operation]edit.Rules)
		}
		if c.edits[op], err = edit.Compile(append(all, own...)); err != nil {
			return fmt.Errorf("the provider's own changes: %w", err)
		}
	}
	c.SystemPrompt = st.GetSystemPrompt()
	c.StreamFormat = st.GetStreamFormat()
	for from, to := range st.GetStatusMapping() {
		if from < 400 || from > 599 || to < 400 || to > 599 {
			return errors.New("status_mapping: not a status of an error")
		}
		if c.Statuses == nil {
			c.Statuses = make(map[int]int)
		}
		c.Statuses[int(from)] = int(to)
	}
	return c.ruleHeaders(st.GetHeaderRules())
}

// ruleHeaders applies what header rules say to the channel's own headers, and keeps the rest for requests.
func (c *Channel) ruleHeaders(rules []*syncv1.HeaderRule) error {
	for _, r := range rules {
		one, err := headers(map[string]string{r.GetName(): r.GetValue()})
		if err != nil {
			return err
		}
		c.Headers = without(c.Headers, r.GetName())
		switch resourcev1.RuleAction(r.GetAction()) {
		case resourcev1.RuleAction_RULE_ACTION_SET:
			c.Headers = append(c.Headers, one...)
		case resourcev1.RuleAction_RULE_ACTION_DEFAULT:
			c.Defaults = append(without(c.Defaults, r.GetName()), one...)
		case resourcev1.RuleAction_RULE_ACTION_REMOVE:
			c.Defaults = without(c.Defaults, r.GetName())
			c.Removes = append(c.Removes, strings.ToLower(r.GetName()))
		default:
			return errors.New("header_rules: an unknown action")
		}
	}
	return nil
}

func without(list []Header, name string) []Header {
	var rest []Header
	for _, h := range list {
		if !strings.EqualFold(h.Name, name) {
			rest = append(rest, h)
		}
	}
	return rest
}
