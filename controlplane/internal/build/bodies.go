package build

import (
	"fmt"
	"strings"

	"fairway/controlplane/internal/model"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// Channel builds a channel as proxies hold it, without the groups that are not there.
func (b *Builder) Channel(s *model.State, c *resourcev1.Channel) (*syncv1.ChannelState, error) {
	var missing []Ref
	return b.channel(s, withDefaults(c), &missing)
}

// Account builds an account as proxies hold it.
func (b *Builder) Account(s *model.State, a *resourcev1.Account) (*syncv1.AccountState, error) {
	var missing []Ref
	return b.account(s, withDefaults(a), &missing)
}

func (b *Builder) channel(s *model.State, c *resourcev1.Channel, missing *[]Ref) (*syncv1.ChannelState, error) {
	base, err := model.Endpoint(c)
	if err != nil {
		return nil, fmt.Errorf("base_url: %w", err)
	}
	groups := make([]string, 0, len(c.GetGroups()))
	for _, name := range c.GetGroups() {
		if id, ok := resolve(s, model.KindGroup, name, missing); ok {
			groups = append(groups, id)
		}
	}
	t := c.GetTimeouts()
	return &syncv1.ChannelState{
		Name:             c.GetMetadata().GetName(),
		Provider:         int32(c.GetProvider()),
		Preset:           c.GetPreset(),
		BaseUrl:          base,
		ApiVersion:       c.GetApiVersion(),
		Region:           c.GetRegion(),
		Project:          c.GetProject(),
		Models:           c.GetModels(),
		ModelMapping:     model.ResolveMapping(c.GetModelMapping()),
		GroupIds:         groups,
		Priority:         c.GetPriority(),
		Weight:           c.GetWeight(),
		Disabled:         c.GetDisabled(),
		Headers:          c.GetHeaders(),
		HeaderRules:      headerRules(c.GetHeaderRules()),
		Parameters:       parameters(c.GetParameters()),
		SystemPrompt:     c.GetSystemPrompt(),
		StatusMapping:    c.GetStatusMapping(),
		StreamFormat:     int32(c.GetStreamFormat()),
		PriceRatioPpm:    c.GetPriceRatioPpm(),
		DialTimeout:      t.GetDial(),
		TlsTimeout:       t.GetTls(),
		TotalTimeout:     t.GetTotal(),
		FirstByteTimeout: t.GetFirstByte(),
		IdleTimeout:      t.GetIdle(),
	}, nil
}

func verdict(v *resourcev1.Verdict) *syncv1.VerdictState {
	if v == nil {
		return nil
	}
	h := v.GetHealth()
	return &syncv1.VerdictState{
		State: int32(h.GetState()), Reason: h.GetReason(), Until: h.GetUntil(), Since: h.GetSince(), Opens: h.GetOpens(), Ordered: h.GetOrdered(),
	}
}

func parameters(rules []*resourcev1.ParameterRule) []*syncv1.ParameterRule {
	out := make([]*syncv1.ParameterRule, 0, len(rules))
	for _, r := range rules {
		out = append(out, &syncv1.ParameterRule{Action: int32(r.GetAction()), Path: r.GetPath(), Value: r.GetValue()})
	}
	return out
}

func headerRules(rules []*resourcev1.HeaderRule) []*syncv1.HeaderRule {
	out := make([]*syncv1.HeaderRule, 0, len(rules))
	for _, r := range rules {
		out = append(out, &syncv1.HeaderRule{Action: int32(r.GetAction()), Name: r.GetName(), Value: r.GetValue()})
	}
	return out
}

func (b *Builder) account(s *model.State, a *resourcev1.Account, missing *[]Ref) (*syncv1.AccountState, error) {
	channel, _ := resolve(s, model.KindChannel, a.GetChannel(), missing)
	state := &syncv1.AccountState{
		Name:         a.GetMetadata().GetName(),
		ChannelId:    channel,
		Weight:       a.GetWeight(),
		Disabled:     a.GetDisabled(),
		ProxyUrl:     a.GetProxyUrl(),
		Organization: a.GetOrganization(),

		Concurrency:     a.GetConcurrency(),
		Rpm:             a.GetRpm(),
		Tpm:             a.GetTpm(),
		Unschedulable:   a.GetUnschedulable(),
		SessionLength:   a.GetSessionWindow().GetLength(),
		SessionRequests: a.GetSessionWindow().GetMaxRequests(),
		SessionTokens:   a.GetSessionWindow().GetMaxTokens(),
		Verdict:         verdict(model.VerdictOf(s, a)),
	}
	id := a.GetMetadata().GetId()
	var err error
	if state.ProxySecret, err = b.open(a.GetProxySecret().GetSealed(), model.KindAccount, id, "proxy_secret"); err != nil {
		return nil, err
	}
	if a.GetExchange() != nil {
		return state, b.exchanged(s, a, state)
	}
	state.AccessKeyId = a.GetAccessKeyId()
	if state.Secret, err = b.open(a.GetSecret().GetSealed(), model.KindAccount, id, "secret"); err != nil {
		return nil, err
	}
	return state, nil
}

// exchanged puts in what the account's exchange gave. What it is made with stays here: proxies have no use for it.
func (b *Builder) exchanged(s *model.State, a *resourcev1.Account, state *syncv1.AccountState) error {
	state.Exchanged = true
	c := model.CredentialOf(s, a)
	if c == nil {
		return nil
	}
	id := a.GetMetadata().GetId()
	var err error
	if state.Secret, err = b.open(c.GetSecret(), model.KindCredential, id, "secret"); err != nil {
		return err
	}
	if state.SessionToken, err = b.open(c.GetSessionToken(), model.KindCredential, id, "session_token"); err != nil {
		return err
	}
	state.AccessKeyId, state.SecretExpireTime, state.Project = c.GetAccessKeyId(), c.GetExpireTime(), c.GetProject()
	return nil
}

func (b *Builder) open(v *resourcev1.SealedValue, kind model.Kind, id, field string) (string, error) {
	if v == nil {
		return "", nil
	}
	plain, err := b.Open(v, string(kind), id, field)
	if err != nil {
		return "", fmt.Errorf("open %s: %w", field, err)
	}
	return plain, nil
}

// group takes the strategy and the affinity of the settings where it says nothing.
func group(s *model.State, g *resourcev1.Group) *syncv1.GroupState {
	settings := withDefaults(s.Settings())
	strategy := g.GetStrategy()
	if strategy == resourcev1.Strategy_STRATEGY_UNSPECIFIED {
		strategy = settings.GetDefaultStrategy()
	}
	affinity := g.GetAffinity()
	if affinity == resourcev1.Affinity_AFFINITY_UNSPECIFIED {
		affinity = settings.GetAffinity()
	}
	return &syncv1.GroupState{
		Name:          g.GetMetadata().GetName(),
		Strategy:      int32(strategy),
		PriceRatioPpm: g.GetPriceRatioPpm(),
		Strict:        g.GetStrict(),
		Affinity:      int32(affinity),

		Hedged:           g.GetHedging() != nil,
		HedgeAfter:       g.GetHedging().GetAfter(),
		HedgeMaxExtraPpm: g.GetHedging().GetMaxExtraPpm(),

		FirstByteTimeout: g.GetDeadlines().GetFirstByte(),
		IdleTimeout:      g.GetDeadlines().GetIdle(),
		TotalTimeout:     g.GetDeadlines().GetTotal(),
		NoPanic:          g.GetNoPanic(),
		Limits:           limits(g.GetLimits()),
	}
}

// key fills its one default by hand: there are a million of them, and a clone costs more than the rest.
func key(s *model.State, k *resourcev1.Key, missing *[]Ref) *syncv1.KeyState {
	name := k.GetGroup()
	if name == "" {
		name = model.DefaultGroup
	}
	group, _ := resolve(s, model.KindGroup, name, missing)
	tenant := ""
	if k.GetTenant() != "" {
		tenant, _ = resolve(s, model.KindTenant, k.GetTenant(), missing)
	}
	return &syncv1.KeyState{
		Name:       k.GetMetadata().GetName(),
		GroupId:    group,
		Tenant:     k.GetTenant(),
		TenantId:   tenant,
		Disabled:   k.GetDisabled(),
		ExpireTime: k.GetExpireTime(),
		Models:     k.GetModels(),
		AllowedIps: k.GetAllowedIps(),
		Mac:        k.GetMac(),
		Strict:     k.GetStrict(),

		DebugHeaders: k.GetDebugHeaders(),
		Limits:       limits(k.GetLimits()),
		DeniedModels: k.GetDeniedModels(),
		Clients:      lower(k.GetClients()),
		AccountIds:   accounts(s, k.GetAccounts(), missing),
	}
}

// noAccount is an id that no account has.
const noAccount = "-"

// accounts returns ids. Where none of the names leads anywhere, the key is bound to no account at all: with an empty list
// it would have all of its group.
func accounts(s *model.State, names []string, missing *[]Ref) []string {
	if len(names) == 0 {
		return nil
	}
	ids := make([]string, 0, len(names))
	for _, name := range names {
		if id, ok := resolve(s, model.KindAccount, name, missing); ok {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return []string{noAccount}
	}
	return ids
}

// lower is for what is compared without regard to case.
func lower(texts []string) []string {
	if len(texts) == 0 {
		return nil
	}
	out := make([]string, len(texts))
	for i, text := range texts {
		out[i] = strings.ToLower(text)
	}
	return out
}

// resolve returns the id of what a name refers to, or notes that it leads nowhere.
func resolve(s *model.State, kind model.Kind, name string, missing *[]Ref) (string, bool) {
	r, ok := s.ByName(kind, name)
	if !ok {
		*missing = append(*missing, Ref{Kind: kind, Name: name})
		return "", false
	}
	return r.GetMetadata().GetId(), true
}
