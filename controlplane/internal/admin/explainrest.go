package admin

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"fairway/controlplane/internal/model"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// out says what keeps an account from serving until somebody acts.
func (q question) out(a *resourcev1.Account) (reasons []string) {
	if bound := q.key.GetAccounts(); len(bound) > 0 && !slices.Contains(bound, a.GetMetadata().GetName()) {
		reasons = append(reasons, "the key is bound to other accounts")
	}
	h := healthOf(q.state, a, q.view, q.now)
	switch {
	case a.GetDisabled():
		reasons = append(reasons, "the account is disabled")
	case h.GetState() == resourcev1.HealthState_HEALTH_STATE_DISABLED:
		until := "until somebody acts"
		if h.GetUntil() != nil {
			until = "until " + moment(h.GetUntil().AsTime()) + " or until somebody acts"
		}
		reasons = append(reasons, "the account was taken out "+until+because(h))
	default:
		if why := unexchanged(q.state, a, q.now); why != "" {
			reasons = append(reasons, why)
		}
	}
	if a.GetUnschedulable() {
		reasons = append(reasons, "the account is unschedulable: it serves only what no other account can")
	}
	return reasons
}

// rests says what keeps an account from serving for now.
func (q question) rests(a *resourcev1.Account, upstream string) (reasons []string) {
	h := healthOf(q.state, a, q.view, q.now)
	switch h.GetState() {
	case resourcev1.HealthState_HEALTH_STATE_OPEN:
		until := ""
		if h.GetUntil() != nil {
			until = " until " + moment(h.GetUntil().AsTime())
		}
		reasons = append(reasons, "the account rests"+until+because(h))
	case resourcev1.HealthState_HEALTH_STATE_HALF_OPEN:
		reasons = append(reasons, "the account has rested, and is tried with one request at a time"+because(h))
	default:
	}
	soft := q.view.of(a.GetMetadata().GetId(), model.VerdictOf(q.state, a))
	for _, family := range slices.Sorted(maps.Keys(soft.GetRestingFamilies())) {
		end := q.view.time.Add(soft.GetRestingFamilies()[family].AsDuration())
		if end.After(q.now) && (inFamily(upstream, family) || inFamily(q.model, family)) {
			reasons = append(reasons, fmt.Sprintf("the account rests until %s for models like %s", moment(end), family))
		}
	}
	return reasons
}

// because names the reason of a health that has one.
func because(h *resourcev1.AccountHealth) string {
	if h.GetReason() == "" {
		return ""
	}
	return ": " + h.GetReason()
}

func moment(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// inFamily says whether a model belongs to a family, which is its name without date and version.
func inFamily(name, family string) bool {
	rest, ok := strings.CutPrefix(name, family)
	if !ok || rest == "" {
		return ok
	}
	rest = strings.TrimSuffix(rest, "-latest")
	return strings.Trim(rest, "0123456789-@:.v") == "" && (rest == "" || strings.IndexByte("-@:", rest[0]) >= 0)
}
