package notify

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/money"
)

// Names of events, as they stand in messages.
const (
	eventBudget        = "budget"
	eventKeyExpiry     = "key_expiry"
	eventUnknownPrice  = "unknown_price"
	eventEstimateDrift = "estimate_drift"
	eventTest          = "test"
)

// Event is one message. Its JSON form is what webhooks get, documented in docs/notifications.md: fields may be added, and
// none is taken away or changes its meaning.
type Event struct {
	ID       string    `json:"id"` // of the same event always the same
	Time     time.Time `json:"time"`
	Event    string    `json:"event"`
	Notifier string    `json:"notifier"`
	Text     string    `json:"text"` // one line for people
	Budget   *Budget   `json:"budget,omitempty"`
	Key      *Key      `json:"key,omitempty"`
	Model    string    `json:"model,omitempty"`
	Estimate *Estimate `json:"estimate,omitempty"`
}

// Budget is the budget that an event is about. Amounts are decimals in text, because JSON's numbers are not exact
// everywhere.
type Budget struct {
	Scope          string     `json:"scope"`
	ID             string     `json:"id"`
	Name           string     `json:"name"`
	Tenant         string     `json:"tenant,omitempty"`
	Window         string     `json:"window"`
	RollingMinutes int64      `json:"rolling_minutes,omitempty"`
	Percent        uint32     `json:"percent"`
	SpentUSD       string     `json:"spent_usd"`
	LimitUSD       string     `json:"limit_usd"`
	Ends           *time.Time `json:"ends,omitempty"`
}

// Estimate is what was reserved for the requests of a model that an event is about, and what they used.
type Estimate struct {
	Ratio          float64 `json:"ratio"`
	Requests       int64   `json:"requests"`
	ReservedTokens int64   `json:"reserved_tokens"`
	UsedTokens     int64   `json:"used_tokens"`
}

// Key is the key that an event is about.
type Key struct {
	ID         string     `json:"id"`
	Name       string     `json:"name"`
	Tenant     string     `json:"tenant,omitempty"`
	ExpireTime *time.Time `json:"expire_time,omitempty"`
	Days       uint32     `json:"days,omitempty"`
}

// eventID names an event by what it is about, so that whoever leads names it alike.
func eventID(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		_, _ = fmt.Fprintf(h, "%d:%s,", len(p), p) // never fails
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// usd is an amount without its sign of currency.
func usd(n money.NanoUSD) string { return strings.Replace(n.String(), "$", "", 1) }

// plain is a text of somebody else's as one line that says nothing but what can be read: no control characters, and
// nothing that changes the order of writing.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) && r != unicode.ReplacementChar {
			return r
		}
		return '?'
	}, s)
}

// utc is a time to the second, as messages carry it.
func utc(t time.Time) *time.Time {
	t = t.UTC().Truncate(time.Second)
	return &t
}

func budgetEvent(n *resourcev1.Notifier, id string, e BudgetEvent, rolling time.Duration, percent uint32, tenant string, now time.Time) *Event {
	out := &Event{
		ID: id, Time: *utc(now), Event: eventBudget, Notifier: n.GetMetadata().GetName(),
		Budget: &Budget{
			Scope: e.Scope, ID: e.ID, Name: e.Name, Tenant: tenant, Window: e.Window, RollingMinutes: int64(rolling / time.Minute),
			Percent: percent, SpentUSD: usd(e.Spent), LimitUSD: usd(e.Limit),
		},
	}
	until := ""
	if !e.Ends.IsZero() && rolling == 0 {
		out.Budget.Ends = utc(e.Ends)
		until = "; it ends " + out.Budget.Ends.Format(time.RFC3339)
	}
	out.Text = fmt.Sprintf("Budget of %s %q: %d%% is used, %s of %s %s%s",
		e.Scope, e.Name, percent, e.Spent, e.Limit, windowText(e.Window, rolling), until)
	return out
}

func windowText(window string, rolling time.Duration) string {
	switch {
	case rolling > 0:
		return "in " + strconv.FormatInt(int64(rolling/time.Minute), 10) + " minutes"
	case window == "total":
		return "in all"
	default:
		return "a " + window
	}
}

func expiryEvent(n *resourcev1.Notifier, id string, k *resourcev1.Key, days uint32, now time.Time) *Event {
	ends := utc(k.GetExpireTime().AsTime())
	return &Event{
		ID: id, Time: *utc(now), Event: eventKeyExpiry, Notifier: n.GetMetadata().GetName(),
		Text: fmt.Sprintf("Key %q ends %s, in %s", k.GetMetadata().GetName(), ends.Format(time.RFC3339), spanText(ends.Sub(now))),
		Key: &Key{
			ID: k.GetMetadata().GetId(), Name: k.GetMetadata().GetName(), Tenant: k.GetTenant(), ExpireTime: ends, Days: days,
		},
	}
}

// spanText rounds a span as people say it.
func spanText(d time.Duration) string {
	for _, unit := range []struct {
		of   time.Duration
		name string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}} {
		switch n := int64((d + unit.of/2) / unit.of); {
		case n == 1:
			return "1 " + unit.name
		case n > 1:
			return strconv.FormatInt(n, 10) + " " + unit.name + "s"
		}
	}
	return "less than a minute"
}

func unpricedEvent(n *resourcev1.Notifier, id, modelName string, k *resourcev1.Key, now time.Time) *Event {
	out := &Event{
		ID: id, Time: *utc(now), Event: eventUnknownPrice, Notifier: n.GetMetadata().GetName(), Model: plain(modelName),
		Text: fmt.Sprintf("Model %q has no price: its usage is on the books without a cost, or at the default rates", modelName),
	}
	if k != nil {
		out.Key = &Key{ID: k.GetMetadata().GetId(), Name: k.GetMetadata().GetName(), Tenant: k.GetTenant()}
	}
	return out
}

func driftEvent(n *resourcev1.Notifier, id string, d drift, now time.Time) *Event {
	return &Event{
		ID: id, Time: *utc(now), Event: eventEstimateDrift, Notifier: n.GetMetadata().GetName(), Model: plain(d.model),
		Estimate: &Estimate{Ratio: d.ratio(), Requests: d.requests, ReservedTokens: d.reserved, UsedTokens: d.used},
		Text: fmt.Sprintf("Estimates of model %q are far off: for %d requests, %d tokens were reserved and %d were used, a ratio of %.3g",
			d.model, d.requests, d.reserved, d.used, d.ratio()),
	}
}

func testEvent(n *resourcev1.Notifier, now time.Time) *Event {
	name := n.GetMetadata().GetName()
	return &Event{
		ID: strings.ToLower(rand.Text()), Time: *utc(now), Event: eventTest, Notifier: name,
		Text: fmt.Sprintf("This is a test of the notifier %q", name),
	}
}
