package controlplane

import (
	"context"
	"time"

	"fairway/controlplane/internal/admin"
	"fairway/controlplane/internal/publish"
	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
)

// prober has accounts tried by the proxies of this replica: they reach upstreams as requests do, and this process does
// not.
type prober struct{ publisher *publish.Publisher }

// probeReserve is what is left of a caller's time for the proxy's answer to come back.
const probeReserve = 2 * time.Second

// Probe implements admin.Prober.
func (p prober) Probe(ctx context.Context, accountID, model string) admin.ProbeResult {
	timeout := 20 * time.Second
	if end, ok := ctx.Deadline(); ok {
		timeout = max(time.Until(end)-probeReserve, time.Second)
	}
	r, err := p.publisher.Probe(ctx, accountID, model, timeout)
	if err != nil {
		cause := adminv1.AccountTest_CAUSE_UPSTREAM
		if fault.KindOf(err) == fault.Deadline {
			cause = adminv1.AccountTest_CAUSE_TIMEOUT
		}
		return admin.ProbeResult{Cause: cause, Detail: fault.Public(err)}
	}
	return admin.ProbeResult{
		OK: r.GetOk(), Cause: causeOf(r.GetWhat()), Detail: r.GetDetail(), Status: int(r.GetStatus()), Latency: r.GetTook().AsDuration(),
	}
}

// causeOf turns the word of a ProbeResult into the admin API's.
func causeOf(what string) adminv1.AccountTest_Cause {
	switch what {
	case "":
		return adminv1.AccountTest_CAUSE_UNSPECIFIED
	case "url":
		return adminv1.AccountTest_CAUSE_URL
	case "credential", "account":
		return adminv1.AccountTest_CAUSE_CREDENTIAL
	case "model":
		return adminv1.AccountTest_CAUSE_MODEL
	case "quota", "rate_limit":
		return adminv1.AccountTest_CAUSE_QUOTA
	case "request":
		return adminv1.AccountTest_CAUSE_REQUEST
	case "timeout":
		return adminv1.AccountTest_CAUSE_TIMEOUT
	}
	return adminv1.AccountTest_CAUSE_UPSTREAM
}
