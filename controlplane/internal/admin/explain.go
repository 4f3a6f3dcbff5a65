package admin

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"fairway/controlplane/internal/model"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// million is one whole share in ppm.
const million = 1_000_000

// explain says what a proxy that has applied s answers to a request of the key for a model at the time now, by the rules
// of the data plane: who the key is, what it may ask for, what could serve it. v is what the leader knows, nil when it
// does not answer. What only proxies know, such as their own rests, the caller's address or a request's body, is not part
// of it. It is a pure function.
func explain(s *model.State, key *resourcev1.Key, modelName string, now time.Time, v *view) *adminv1.ExplainResponse {
	group := key.GetGroup()
	if group == "" {
		group = model.DefaultGroup
	}
	q := question{state: s, key: key, model: modelName, now: now, view: v}
	candidates, at := q.candidates(group)
	out := &adminv1.ExplainResponse{Group: group, Candidates: candidates, Revision: s.Revision()}
	out.HttpStatus, out.Verdict = verdict(s, key, modelName, now, at)
	out.Served = out.HttpStatus == 0
	switch {
	case out.Served && at.usable:
		out.Verdict = served(candidates, at.strategy)
	case out.Served:
		out.Verdict = fmt.Sprintf("all that could serve rest; the least bad of %s is tried all the same, but none whose provider ordered the rest",
			accounts(at.resting))
	}
	return out
}

// question is what explain is asked.
type question struct {
	state *model.State
	key   *resourcev1.Key
	model string
	now   time.Time
	view  *view
}

// situation is what the channels make possible.
type situation struct {
	group     string
	listed    bool // some channel lists the model, whatever its group
	reachable bool // a channel of the key's group does
	usable    bool // an account of such a channel can serve now
	resting   int  // accounts of such channels that could, if they did not rest
	panics    bool // the group would rather try one of these than refuse
	strategy  resourcev1.Strategy
}

// policy adds what the group and the settings say.
func (at *situation) policy(s *model.State) {
	at.strategy = s.Settings().GetDefaultStrategy()
	if at.strategy == resourcev1.Strategy_STRATEGY_UNSPECIFIED {
		at.strategy = resourcev1.Strategy_STRATEGY_BALANCED
	}
	at.panics = true
	r, _ := s.ByName(model.KindGroup, at.group)
	if g, ok := r.(*resourcev1.Group); ok {
		at.panics = !g.GetNoPanic()
		if g.GetStrategy() != resourcev1.Strategy_STRATEGY_UNSPECIFIED {
			at.strategy = g.GetStrategy()
		}
	}
}

// verdict asks the data plane's questions in the data plane's order. The status is 0 when all are answered well.
func verdict(s *model.State, key *resourcev1.Key, modelName string, now time.Time, at situation) (int32, string) {
	name := key.GetMetadata().GetName()
	tenants := model.TenantsOf(s, key.GetTenant())
	off := slices.IndexFunc(tenants, (*resourcev1.Tenant).GetDisabled)
	switch {
	case key.GetDisabled():
		return http.StatusUnauthorized, fmt.Sprintf("key %q is disabled", name)
	case off >= 0:
		return http.StatusUnauthorized, fmt.Sprintf("tenant %q is disabled, and key %q with it", tenants[off].GetMetadata().GetName(), name)
	case expired(key, now):
		return http.StatusUnauthorized, fmt.Sprintf("key %q expired at %s", name, key.GetExpireTime().AsTime().Format(time.RFC3339))
	case !allowsModel(key, modelName):
		return http.StatusForbidden, fmt.Sprintf("key %q may not use model %q", name, modelName)
	case !at.listed:
		return http.StatusNotFound, fmt.Sprintf("no channel lists model %q", modelName)
	case !at.reachable:
		return http.StatusNotFound, fmt.Sprintf("no channel of group %q lists model %q", at.group, modelName)
	case !at.usable && at.resting > 0 && !at.panics:
		return http.StatusServiceUnavailable, fmt.Sprintf("all that could serve model %q rest, and group %q tries none that rests", modelName, at.group)
	case !at.usable && at.resting == 0:
		return http.StatusServiceUnavailable, fmt.Sprintf("nothing in group %q can serve model %q now", at.group, modelName)
	default:
		return 0, ""
	}
}

// expired compares in milliseconds, as proxies do.
func expired(key *resourcev1.Key, now time.Time) bool {
	t := key.GetExpireTime()
	return t != nil && now.UnixMilli() >= t.AsTime().UnixMilli()
}

// allowsModel applies the key's model rules: what is denied is, whatever is allowed; no names allow all; a trailing *
// matches the rest.
func allowsModel(key *resourcev1.Key, modelName string) bool {
	named := func(m string) bool {
		prefix, open := strings.CutSuffix(m, "*")
		return m == modelName || (open && strings.HasPrefix(modelName, prefix))
	}
	if slices.ContainsFunc(key.GetDeniedModels(), named) {
		return false
	}
	return len(key.GetModels()) == 0 || slices.ContainsFunc(key.GetModels(), named)
}

// served says who serves. Shares are by weight, which is the whole truth under one strategy only.
func served(candidates []*adminv1.Candidate, strategy resourcev1.Strategy) string {
	n, priority, first := 0, int32(0), true
	for _, c := range candidates {
		if !c.GetUsable() {
			continue
		}
		if first {
			priority, first = c.GetPriority(), false
		}
		if c.GetPriority() == priority {
			n++
		}
	}
	text := fmt.Sprintf("served by %s of priority %d", accounts(n), priority)
	if n > 1 && strategy != resourcev1.Strategy_STRATEGY_WEIGHTED_RANDOM {
		text += fmt.Sprintf("; the strategy %s decides among them, where shares are those of the weights alone", strategyName(strategy))
	}
	return text
}

func accounts(n int) string {
	if n == 1 {
		return "1 account"
	}
	return fmt.Sprintf("%d accounts", n)
}

// strategyName is the strategy as people write it, such as lowest_cost.
func strategyName(s resourcev1.Strategy) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "STRATEGY_"))
}

// offer is a candidate with the weights that its share comes from.
type offer struct {
	*adminv1.Candidate
	channelWeight, accountWeight int64
	resting                      bool // that is all there is against it
}

// candidates lists every account of every channel that lists the model, best tier first, then by name.
func (q question) candidates(group string) (all []*adminv1.Candidate, at situation) {
	at.group = group
	at.policy(q.state)
	var offers []offer
	for r := range q.state.All(model.KindChannel) {
		channel, ok := r.(*resourcev1.Channel)
		if !ok || !slices.Contains(channel.GetModels(), q.model) {
			continue
		}
		at.listed = true
		var reasons []string
		if inGroup(channel, group) {
			at.reachable = true
		} else {
			reasons = append(reasons, fmt.Sprintf("the channel is not in group %q", group))
		}
		if channel.GetDisabled() {
			reasons = append(reasons, "the channel is disabled")
		}
		offers = append(offers, q.offers(channel, reasons)...)
	}
	slices.SortStableFunc(offers, func(a, b offer) int {
		return cmp.Or(
			-cmp.Compare(a.GetPriority(), b.GetPriority()),
			cmp.Compare(a.GetChannel(), b.GetChannel()),
			cmp.Compare(a.GetAccount(), b.GetAccount()),
		)
	})
	for start := 0; start < len(offers); {
		end := start + 1
		for end < len(offers) && offers[end].GetPriority() == offers[start].GetPriority() {
			end++
		}
		share(offers[start:end])
		start = end
	}
	all = make([]*adminv1.Candidate, len(offers))
	for i, o := range offers {
		all[i] = o.Candidate
		at.usable = at.usable || o.GetUsable()
		if o.resting {
			at.resting++
		}
	}
	return all, at
}

func inGroup(c *resourcev1.Channel, group string) bool {
	if len(c.GetGroups()) == 0 {
		return group == model.DefaultGroup
	}
	return slices.Contains(c.GetGroups(), group)
}

// offers makes a candidate of each account of a channel; one without an account when it has none.
func (q question) offers(channel *resourcev1.Channel, reasons []string) []offer {
	upstream := model.UpstreamModel(channel.GetModelMapping(), q.model)
	base := func(account string, more ...string) *adminv1.Candidate {
		return &adminv1.Candidate{
			Channel: channel.GetMetadata().GetName(), Account: account,
			Priority: channel.GetPriority(), UpstreamModel: upstream,
			Reasons: slices.Concat(reasons, more),
		}
	}
	var offers []offer
	for a := range q.state.AccountsOf(channel.GetMetadata().GetName()) {
		out := q.out(a)
		rests := q.rests(a, upstream)
		c := base(a.GetMetadata().GetName(), slices.Concat(out, rests)...)
		c.Usable = len(c.GetReasons()) == 0
		offers = append(offers, offer{
			Candidate: c, channelWeight: weight(channel.GetWeight()), accountWeight: weight(a.GetWeight()),
			resting: len(rests) > 0 && len(rests) == len(c.GetReasons()),
		})
	}
	if len(offers) == 0 {
		offers = append(offers, offer{Candidate: base("", "the channel has no accounts")})
	}
	return offers
}

func weight(w uint32) int64 {
	if w == 0 {
		return model.DefaultWeight
	}
	return int64(w)
}

// share splits a tier's traffic among its usable candidates: among the channels by their weights, then among each
// channel's accounts by theirs. The shares of a tier that has any are exactly one million together: rounded down, the
// rest goes to the largest remainders, the first of equals first.
func share(tier []offer) {
	channels := make(map[string]int64) // weight by channel, of those with a usable account
	accounts := make(map[string]int64) // sum of account weights by channel
	var total int64
	for _, o := range tier {
		if !o.GetUsable() {
			continue
		}
		if _, ok := channels[o.GetChannel()]; !ok {
			channels[o.GetChannel()] = o.channelWeight
			total += o.channelWeight
		}
		accounts[o.GetChannel()] += o.accountWeight
	}
	type remainder struct {
		c    *adminv1.Candidate
		part float64
	}
	var remainders []remainder
	left := int64(million)
	for _, o := range tier {
		if !o.GetUsable() {
			continue
		}
		// At most 1e6 * 1e4 * 1e4 = 1e14 above; below, sums of weights up to 1e4 over any number that fits memory.
		above := million * o.channelWeight * o.accountWeight
		below := total * accounts[o.GetChannel()]
		o.SharePpm = above / below
		left -= o.SharePpm
		remainders = append(remainders, remainder{o.Candidate, float64(above%below) / float64(below)})
	}
	slices.SortStableFunc(remainders, func(a, b remainder) int { return cmp.Compare(b.part, a.part) })
	for i := int64(0); i < left && len(remainders) > 0; i++ {
		remainders[i%int64(len(remainders))].c.SharePpm++
	}
}
