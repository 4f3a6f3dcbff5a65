package snapshot

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"time"
	"unique"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fairway/dataplane/internal/limit"
	"fairway/pkg/breaker"
	"fairway/pkg/clientkey"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/money"
	"fairway/pkg/secret"
)

// A form is what one resource compiles to, by itself: *Channel, *Account (without channel and cell), *Group (without
// routes and cell), *Tenant, *Key, *Model or *settings. A kind that this build does not know has a nil form: it is kept, so that
// digests agree, and not used.
type form any

// settings is the form of a SettingsState.
type settings struct {
	Settings
	hasher *clientkey.Hasher
	prices settingsPrices
}

// defaults of resource.v1, for a control plane that leaves them out.
const (
	defaultWeight    = 100
	defaultDial      = 10 * time.Second
	defaultTLS       = 10 * time.Second
	defaultFirstByte = 300 * time.Second
	defaultIdle      = 120 * time.Second
	defaultHedgePPM  = 20_000
)

// compile turns a body into its form. Whatever the body is, it returns; its errors name what is wrong and never repeat
// a secret.
func compile(kind syncv1.Kind, id string, version int64, body []byte) (f form, err error) {
	defer func() {
		if p := recover(); p != nil {
			f, err = nil, panicked(p)
		}
	}()
	switch kind {
	case syncv1.Kind_KIND_CHANNEL:
		return compileChannel(id, body)
	case syncv1.Kind_KIND_ACCOUNT:
		return compileAccount(id, body)
	case syncv1.Kind_KIND_GROUP:
		return compileGroup(id, version, body)
	case syncv1.Kind_KIND_TENANT:
		return compileTenant(id, version, body)
	case syncv1.Kind_KIND_KEY:
		return compileKey(id, version, body)
	case syncv1.Kind_KIND_MODEL:
		return compileModel(version, body)
	case syncv1.Kind_KIND_SETTINGS:
		return compileSettings(version, body)
	default:
		return nil, nil
	}
}

// panicked describes a panic without its value, which could hold anything; the runtime's own are safe.
func panicked(p any) error {
	if e, ok := p.(runtime.Error); ok {
		return fmt.Errorf("compiling panicked: %w", e)
	}
	return fmt.Errorf("compiling panicked with a %T", p)
}

func unmarshal(body []byte, m proto.Message) error {
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(body, m); err != nil {
		return errors.New("the body is not a " + string(m.ProtoReflect().Descriptor().Name()))
	}
	return nil
}

func compileChannel(id string, body []byte) (form, error) {
	st := &syncv1.ChannelState{}
	if err := unmarshal(body, st); err != nil {
		return nil, err
	}
	base, err := parseBaseURL(st.GetBaseUrl())
	if err != nil {
		return nil, err
	}
	c := &Channel{
		ID: ChannelID(id), Name: st.GetName(), Provider: st.GetProvider(), BaseURL: base,
		Priority: st.GetPriority(), Weight: orDefault(st.GetWeight(), defaultWeight), Disabled: st.GetDisabled(),
		Models: st.GetModels(), mapping: st.GetModelMapping(),
	}
	if c.PriceRatio, err = ratio(st.GetPriceRatioPpm()); err != nil {
		return nil, err
	}
	slices.Sort(c.Models)
	c.Models = slices.Compact(c.Models)
	if slices.ContainsFunc(c.Models, func(m string) bool { return !visible(m) }) {
		return nil, errors.New("models: a name is empty or has characters other than visible ASCII")
	}
	for _, to := range c.mapping {
		if !visible(to) {
			return nil, errors.New("model_mapping: a name is empty or has characters other than visible ASCII")
		}
	}
	for _, g := range st.GetGroupIds() {
		c.Groups = append(c.Groups, GroupID(unique.Make(g).Value()))
	}
	slices.Sort(c.Groups)
	c.Groups = slices.Compact(c.Groups)
	if c.Headers, err = headers(st.GetHeaders()); err != nil {
		return nil, err
	}
	if err := c.adapt(st); err != nil {
		return nil, err
	}
	for _, t := range []struct {
		name string
		from *durationpb.Duration
		to   *time.Duration
		or   time.Duration
	}{
		{"dial_timeout", st.GetDialTimeout(), &c.Dial, defaultDial},
		{"tls_timeout", st.GetTlsTimeout(), &c.TLS, defaultTLS},
		{"first_byte_timeout", st.GetFirstByteTimeout(), &c.FirstByte, defaultFirstByte},
		{"idle_timeout", st.GetIdleTimeout(), &c.Idle, defaultIdle},
		{"total_timeout", st.GetTotalTimeout(), &c.Total, 0},
	} {
		switch {
		case t.from == nil:
			*t.to = t.or
		case t.from.AsDuration() <= 0:
			return nil, fmt.Errorf("%s: must be positive", t.name)
		default:
			*t.to = t.from.AsDuration()
		}
	}
	return c, nil
}

func compileAccount(id string, body []byte) (form, error) {
	st := &syncv1.AccountState{}
	if err := unmarshal(body, st); err != nil {
		return nil, err
	}
	for _, v := range [...]struct{ name, value string }{
		{"secret", st.GetSecret()}, {"session_token", st.GetSessionToken()}, {"access_key_id", st.GetAccessKeyId()},
	} {
		if v.value != "" && !visible(v.value) {
			return nil, errors.New(v.name + ": has characters other than visible ASCII")
		}
	}
	if st.GetOrganization() != "" && !visible(st.GetOrganization()) {
		return nil, errors.New("organization: has characters other than visible ASCII")
	}
	if st.GetChannelId() == "" {
		return nil, errors.New("channel_id: is empty")
	}
	a := &Account{
		ID: AccountID(id), Name: st.GetName(), Secret: secret.New(st.GetSecret()), Organization: st.GetOrganization(),
		Weight: orDefault(st.GetWeight(), defaultWeight), Disabled: st.GetDisabled(),
		KeyID: st.GetAccessKeyId(), Project: st.GetProject(), Session: secret.New(st.GetSessionToken()),
		channelID: ChannelID(unique.Make(st.GetChannelId()).Value()),
	}
	if t := st.GetSecretExpireTime(); t != nil {
		a.SecretEndsMS = max(t.AsTime().UnixMilli(), 1)
	}
	if a.Exchanged = st.GetExchanged(); a.Exchanged && a.Secret.Empty() {
		a.Disabled = true // until its first token has come
	}
	a.Passive = st.GetUnschedulable()
	a.Caps = Caps{Concurrency: int(st.GetConcurrency()), RPM: int64(st.GetRpm()), TPM: clamp(st.GetTpm()), Session: Session{
		Length: st.GetSessionLength().AsDuration(), Requests: clamp(st.GetSessionRequests()), Tokens: clamp(st.GetSessionTokens()),
	}}
	if v := st.GetVerdict(); v != nil {
		a.Verdict = &Verdict{
			State: breaker.State(v.GetState()), Reason: v.GetReason(), UntilMS: unixMS(v.GetUntil()), SinceMS: unixMS(v.GetSince()),
			Opens: int(v.GetOpens()), Ordered: v.GetOrdered(),
		}
	}
	if st.GetProxyUrl() == "" {
		return a, nil
	}
	u, err := url.Parse(st.GetProxyUrl())
	if err != nil || (u.Scheme != "http" && u.Scheme != "socks5") || u.Hostname() == "" || u.Port() == "" || u.User != nil ||
		strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return nil, errors.New("proxy_url: want http://host:port or socks5://host:port")
	}
	if s := st.GetProxySecret(); s != "" {
		user, password, ok := strings.Cut(s, ":")
		if !ok {
			return nil, errors.New("proxy_secret: want user:password")
		}
		u.User = url.UserPassword(user, password)
	}
	a.ProxyURL = u
	return a, nil
}

func compileGroup(id string, version int64, body []byte) (form, error) {
	st := &syncv1.GroupState{}
	if err := unmarshal(body, st); err != nil {
		return nil, err
	}
	r, err := ratio(st.GetPriceRatioPpm())
	if err != nil {
		return nil, err
	}
	limits, err := terms(limit.Group, id, version, st.GetLimits())
	if err != nil {
		return nil, err
	}
	return &Group{
		ID: GroupID(id), Name: st.GetName(), PriceRatio: r, Strategy: st.GetStrategy(), Affinity: st.GetAffinity(),
		Strict: st.GetStrict(), NoPanic: st.GetNoPanic(),
		Hedge: Hedge{
			On: st.GetHedged(), After: st.GetHedgeAfter().AsDuration(), ExtraPPM: orDefault(int(st.GetHedgeMaxExtraPpm()), defaultHedgePPM),
		},
		FirstByte: st.GetFirstByteTimeout().AsDuration(), Idle: st.GetIdleTimeout().AsDuration(), Total: st.GetTotalTimeout().AsDuration(),
		Limits: limits,
	}, nil
}

func compileSettings(version int64, body []byte) (form, error) {
	st := &syncv1.SettingsState{}
	if err := unmarshal(body, st); err != nil {
		return nil, err
	}
	if len(st.GetPepper()) == 0 {
		return nil, errors.New("pepper: is empty")
	}
	prices, err := compileSettingsPrices(version, st)
	if err != nil {
		return nil, err
	}
	d := defaultSettings()
	return &settings{
		Settings: Settings{
			MaxAttempts:        orDefault(int(st.GetMaxAttempts()), d.MaxAttempts),
			RetryBudgetPercent: orDefault(int(st.GetRetryBudgetPercent()), d.RetryBudgetPercent),
			RetryBudgetMin:     orDefault(int(st.GetRetryBudgetMin()), d.RetryBudgetMin),
			Balance:            balance(st.GetBalance(), d.Balance),
			Breaker:            rules(st.GetBreaker(), d.Breaker),
			DecisionSample:     int(min(st.GetDecisionSamplePpm(), 1_000_000)),
		},
		hasher: clientkey.NewHasher(st.GetPepper()),
		prices: prices,
	}, nil
}

// balance reads the weights of "balanced"; weights that make no sense are those by default.
func balance(st *syncv1.BalanceState, d Balance) Balance {
	b := Balance{
		Cost: float32(st.GetCost()), Performance: float32(st.GetPerformance()), Load: float32(st.GetLoad()), Reliability: float32(st.GetReliability()),
	}
	sum := b.Cost + b.Performance + b.Load + b.Reliability
	if min(b.Cost, b.Performance, b.Load, b.Reliability) < 0 || !(sum > 0.99 && sum < 1.01) {
		return d
	}
	return b
}

// rules reads what breakers go by; what is absent is as by default.
func rules(st *syncv1.BreakerState, d breaker.Rules) breaker.Rules {
	if st == nil {
		return d
	}
	span := func(p *durationpb.Duration, or time.Duration) time.Duration {
		if p == nil || p.AsDuration() < 0 {
			return or
		}
		return p.AsDuration()
	}
	return breaker.Rules{
		ConsecutiveFailures: orDefault(int(st.GetConsecutiveFailures()), d.ConsecutiveFailures),
		MaxErrorRate:        orDefault(st.GetMaxErrorRate(), d.MaxErrorRate),
		MinRequests:         orDefault(int(st.GetMinRequests()), d.MinRequests),
		Window:              orDefault(span(st.GetWindow(), d.Window), d.Window),
		MaxTTFTRatio:        orDefault(st.GetMaxTtftRatio(), d.MaxTTFTRatio),
		MaxEjected:          orDefault(float64(st.GetMaxEjectedPercent())/100, d.MaxEjected),
		Panic:               orDefault(float64(st.GetPanicPercent())/100, d.Panic),
		Open:                orDefault(span(st.GetOpen(), d.Open), d.Open),
		MaxOpen:             orDefault(span(st.GetMaxOpen(), d.MaxOpen), d.MaxOpen),
		SlowStart:           span(st.GetSlowStart(), d.SlowStart),
		CheckInterval:       orDefault(span(st.GetCheckInterval(), d.CheckInterval), d.CheckInterval),
		Check:               breaker.Check(orDefault(st.GetCheck(), int32(d.Check))),
	}
}

// clamp reads a count that must fit where it is counted.
func clamp(v uint64) int64 { return int64(min(v, math.MaxInt64)) }

// unixMS reads a time; 0 = absent.
func unixMS(t *timestamppb.Timestamp) int64 {
	if t == nil {
		return 0
	}
	return t.AsTime().UnixMilli()
}

// ratio reads a ratio in millionths; 0 = 1.
func ratio(ppm int64) (money.PPM, error) {
	if ppm < 0 {
		return 0, errors.New("price_ratio_ppm: negative")
	}
	return money.PPM(orDefault(ppm, int64(money.One))), nil
}

func orDefault[T comparable](v, or T) T {
	var zero T
	if v == zero {
		return or
	}
	return v
}

// visible reports whether s is visible ASCII, and not empty: it can then stand in a header or a request's body as it is.
func visible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return s != ""
}
