package admin

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"fairway/controlplane/internal/model"
	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

const (
	// probeTimeout bounds the test of one account.
	probeTimeout = 25 * time.Second
	// maxProbes is how many accounts are tested at once, maxTested how many one call tests.
	maxProbes = 8
	maxTested = 100
)

// Prober has an upstream asked for a short answer, by a proxy.
type Prober interface {
	// Probe asks for model, as clients name it, with the credential of the account of that id. It returns when ctx ends at
	// the latest. It may be called by several goroutines.
	Probe(ctx context.Context, accountID, model string) ProbeResult
}

// ProbeResult is what came of it.
type ProbeResult struct {
	OK      bool
	Cause   adminv1.AccountTest_Cause // unspecified when OK
	Detail  string                    // one line for operators, without anything secret
	Status  int                       // what the upstream answered; 0 = nothing
	Latency time.Duration
}

// TestChannel tests a channel's accounts by this replica's copy of them.
func (s diagnosticsService) TestChannel(ctx context.Context, req *adminv1.TestChannelRequest) (*adminv1.TestChannelResponse, error) {
	if s.prober == nil {
		return nil, fault.New(fault.Unimplemented, "this control plane has no way to ask upstreams")
	}
	st, err := s.state()
	if err != nil {
		return nil, err
	}
	channel, err := get[*resourcev1.Channel](ctx, s.Service, model.KindChannel, req.GetChannel())
	if err != nil {
		return nil, err
	}
	accounts, err := testedAccounts(st, channel, req.GetAccount())
	if err != nil {
		return nil, err
	}
	asked, err := testedModel(channel, req.GetModel())
	if err != nil {
		return nil, err
	}
	out := &adminv1.TestChannelResponse{
		Results:       make([]*adminv1.AccountTest, len(accounts)),
		UpstreamModel: model.UpstreamModel(channel.GetModelMapping(), asked),
	}
	var working sync.WaitGroup
	slots := make(chan struct{}, maxProbes)
	for i, a := range accounts {
		slots <- struct{}{}
		working.Go(func() {
			defer func() { <-slots }()
			out.Results[i] = s.testAccount(ctx, st, a, asked)
		})
	}
	working.Wait()
	return out, nil
}

// testedAccounts are the named account, or those of the channel that serve, by name.
func testedAccounts(st *model.State, channel *resourcev1.Channel, only string) ([]*resourcev1.Account, error) {
	var accounts []*resourcev1.Account
	for a := range st.AccountsOf(channel.GetMetadata().GetName()) {
		named := only != "" && (a.GetMetadata().GetName() == only || a.GetMetadata().GetId() == only)
		if named || only == "" && !a.GetDisabled() {
			accounts = append(accounts, a)
		}
	}
	switch {
	case len(accounts) == 0 && only != "":
		return nil, fault.New(fault.NotFound, "channel %q has no account %q", channel.GetMetadata().GetName(), only)
	case len(accounts) == 0:
		return nil, fault.New(fault.Stale, "channel %q has no account that is not disabled", channel.GetMetadata().GetName())
	case len(accounts) > maxTested:
		return nil, fault.New(fault.Invalid, "account: the channel has %d accounts, more than are tested at once; name one", len(accounts)).
			WithParam("account")
	}
	slices.SortFunc(accounts, func(a, b *resourcev1.Account) int {
		return strings.Compare(a.GetMetadata().GetName(), b.GetMetadata().GetName())
	})
	return accounts, nil
}

// testedModel is what to ask for: the named model, the channel's test_model, or its first.
func testedModel(channel *resourcev1.Channel, named string) (string, error) {
	switch {
	case named != "":
		if !slices.Contains(channel.GetModels(), named) {
			return "", fault.New(fault.Invalid, "model: channel %q does not list %q", channel.GetMetadata().GetName(), named).WithParam("model")
		}
		return named, nil
	case channel.GetTestModel() != "":
		return channel.GetTestModel(), nil
	case len(channel.GetModels()) > 0:
		return channel.GetModels()[0], nil
	default:
		return "", fault.New(fault.Stale, "channel %q lists no model to ask for", channel.GetMetadata().GetName())
	}
}

// testAccount tests one account. What cannot be sent is a result too.
func (s diagnosticsService) testAccount(ctx context.Context, st *model.State, a *resourcev1.Account, asked string) *adminv1.AccountTest {
	out := &adminv1.AccountTest{Account: a.GetMetadata().GetName(), Cause: adminv1.AccountTest_CAUSE_CREDENTIAL}
	if why := unexchanged(st, a, s.now()); why != "" {
		out.Detail = why
		return out
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	got := s.prober.Probe(ctx, a.GetMetadata().GetId(), asked)
	out.Ok, out.Cause, out.Detail = got.OK, got.Cause, got.Detail
	out.HttpStatus, out.Latency = int32(got.Status), durationpb.New(got.Latency)
	return out
}

// unexchanged says why an account has no credential to send although it has a secret; "" = it has one, or needs none.
func unexchanged(st *model.State, a *resourcev1.Account, now time.Time) string {
	if a.GetExchange() == nil {
		return ""
	}
	c := model.CredentialOf(st, a)
	switch {
	case c == nil:
		return "its credential was not exchanged yet; the control plane's log says why"
	case model.Lapsed(c, now):
		return "its exchanged credential has ended; the control plane's log says why it was not renewed"
	default:
		return ""
	}
}
