package credential

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"fairway/controlplane/internal/model"
	"fairway/pkg/fault"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// ask is one exchange to make.
type ask struct {
	id      string
	account *resourcev1.Account
	channel *resourcev1.Channel // nil = unknown
	source  []byte
	held    *resourcev1.Credential // what is stored now; nil = nothing
}

// grant is what an endpoint gave.
type grant struct {
	secret  string // an access token, or a secret access key
	keyID   string
	session string
	project string
	refresh string // in place of the refresh token that was used; "" = that one stays
	life    time.Duration
}

// The longest life that is believed, and the one of a token whose endpoint says nothing (RFC 6749 section 5.1 only
// recommends that it does).
const (
	maxLife     = 7 * 24 * time.Hour
	defaultLife = time.Hour
)

// exchange makes one exchange and stores what it gave.
func (t *term) exchange(ctx context.Context, a ask) result {
	e := t.e
	method := methodName(a.account.GetExchange().GetMethod())
	name := a.account.GetMetadata().GetName()
	c, err := t.make(ctx, a)
	if err != nil {
		if ctx.Err() == nil {
			e.metrics.exchanges.WithLabelValues(method, outcome(err)).Inc()
			e.log.Warn("credential not exchanged", "account", name, "method", method, "error", err)
		}
		return result{id: a.id, source: a.source, err: err}
	}
	e.metrics.exchanges.WithLabelValues(method, "ok").Inc()
	if err := t.keep(ctx, a, c); err != nil {
		e.log.Warn("exchanged credential not stored", "account", name, "method", method, "error", err)
		return result{id: a.id, source: a.source, err: err}
	}
	e.log.Info("credential exchanged", "account", name, "method", method, "expires", c.GetExpireTime().AsTime())
	return result{id: a.id, source: a.source, held: c}
}

// make asks the endpoint and seals its answer.
func (t *term) make(ctx context.Context, a ask) (*resourcev1.Credential, error) {
	e := t.e
	s, err := e.open(a)
	if err != nil {
		return nil, err
	}
	if a.account.GetExchange().GetMethod() == resourcev1.ExchangeMethod_EXCHANGE_METHOD_OAUTH_REFRESH {
		// The token that it sends may be used up by being sent: the answer is waited for, whoever leads by then.
		var cancel context.CancelFunc
		ctx, cancel = outlast(ctx)
		defer cancel()
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	asked := e.now()
	g, err := e.request(ctx, a, s)
	if err != nil {
		return nil, err
	}
	return e.seal(a, g, asked)
}

// secrets are what an exchange is made with, in the clear.
type secrets struct {
	secret string // the account's own, or the refresh token that came in its place
	proxy  string // "user:password" or empty
}

func (e *Exchanger) open(a ask) (s secrets, err error) {
	open := func(v *resourcev1.SealedValue, kind model.Kind, field string) (string, error) {
		if v == nil {
			return "", nil
		}
		plain, err := e.sealer.Open(v, string(kind), a.id, field)
		if err != nil {
			return "", fmt.Errorf("open %s of the %s: %w", field, kind, err)
		}
		return string(plain), nil
	}
	if s.proxy, err = open(a.account.GetProxySecret().GetSealed(), model.KindAccount, "proxy_secret"); err != nil {
		return s, err
	}
	if a.replaced() {
		s.secret, err = open(a.held.GetRefreshToken(), model.KindCredential, "refresh_token")
	} else {
		s.secret, err = open(a.account.GetSecret().GetSealed(), model.KindAccount, "secret")
	}
	if err == nil && s.secret == "" {
		err = errors.New("the account has no secret to exchange")
	}
	return s, err
}

// replaced says whether the account's refresh token has a successor.
func (a ask) replaced() bool {
	return a.account.GetExchange().GetMethod() == resourcev1.ExchangeMethod_EXCHANGE_METHOD_OAUTH_REFRESH &&
		a.held.GetRefreshToken() != nil && a.held.GetRefreshOf() == a.account.GetSecret().GetFingerprint()
}

// request makes the method's request.
func (e *Exchanger) request(ctx context.Context, a ask, s secrets) (grant, error) {
	h, err := e.client(a.account, s)
	if err != nil {
		return grant{}, err
	}
	x := a.account.GetExchange()
	switch x.GetMethod() {
	case resourcev1.ExchangeMethod_EXCHANGE_METHOD_GOOGLE_SERVICE_ACCOUNT:
		return h.google(ctx, x, s.secret, e.now())
	case resourcev1.ExchangeMethod_EXCHANGE_METHOD_ENTRA_CLIENT_SECRET:
		return h.entra(ctx, x, s.secret)
	case resourcev1.ExchangeMethod_EXCHANGE_METHOD_AWS_ASSUME_ROLE:
		return h.assumeRole(ctx, role{arn: x.GetRole(), endpoint: x.GetTokenUrl(), region: regionOf(a.channel), keyID: a.account.GetAccessKeyId()}, s.secret, e.now())
	case resourcev1.ExchangeMethod_EXCHANGE_METHOD_OAUTH_REFRESH:
		return h.refresh(ctx, x, s.secret)
	default:
		return grant{}, errors.New("the account's exchange has no known method")
	}
}

// seal makes a grant a credential.
func (e *Exchanger) seal(a ask, g grant, asked time.Time) (*resourcev1.Credential, error) {
	if err := g.check(); err != nil {
		return nil, err
	}
	c := &resourcev1.Credential{
		Metadata: &resourcev1.Metadata{Id: a.id, Name: a.id}, Source: a.source, AccessKeyId: g.keyID, Project: g.project,
		IssueTime: timestamppb.New(asked), ExpireTime: timestamppb.New(asked.Add(min(g.life, maxLife))),
	}
	var err error
	put := func(to **resourcev1.SealedValue, plain, field string) {
		if plain != "" && err == nil {
			*to, err = e.sealer.Seal([]byte(plain), string(model.KindCredential), a.id, field)
		}
	}
	put(&c.Secret, g.secret, "secret")
	put(&c.SessionToken, g.session, "session_token")
	switch {
	case g.refresh != "":
		put(&c.RefreshToken, g.refresh, "refresh_token")
		c.RefreshOf = a.account.GetSecret().GetFingerprint()
	case a.replaced():
		c.RefreshToken, c.RefreshOf = a.held.GetRefreshToken(), a.held.GetRefreshOf()
	}
	if err != nil {
		return nil, fmt.Errorf("seal a credential: %w", err)
	}
	return c, nil
}

// check refuses what cannot stand in a header, or has no life.
func (g grant) check() error {
	for _, v := range []string{g.secret, g.session, g.keyID} {
		for i := range len(v) {
			if v[i] <= ' ' || v[i] > '~' {
				return errors.New("the endpoint gave a credential that cannot stand in a header")
			}
		}
	}
	switch {
	case g.secret == "":
		return errors.New("the endpoint gave no credential")
	case len(g.secret)+len(g.session) > 12<<10:
		return errors.New("the endpoint gave a credential of more than 12 KiB")
	case g.life <= 0:
		return errors.New("the endpoint gave a credential that has ended")
	}
	return nil
}

// keep stores a credential and gives it its version. It does not give up while the term lasts, because what it holds may
// be the only refresh token that is left.
func (t *term) keep(ctx context.Context, a ask, c *resourcev1.Credential) error {
	ctx, cancel := outlast(ctx)
	defer cancel()
	before := int64(0)
	if a.held != nil {
		before = model.Version(a.held)
	}
	for pause := t.e.firstPause; ; pause = min(2*pause, maxPause) {
		version, err := t.e.store.PutCredential(ctx, t.fence, c, before)
		switch {
		case err == nil:
			model.SetVersion(c, version)
			return nil
		case lost(err), fault.KindOf(err) == fault.NotFound, ctx.Err() != nil:
			return err
		case fault.KindOf(err) == fault.Stale:
			// A write whose outcome was not known took effect after all.
			if before, err = t.stored(ctx, a.id); err == nil {
				continue
			}
		}
		t.e.log.Warn("exchanged credential not stored yet; trying again", "account", a.account.GetMetadata().GetName(), "error", err)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}

// stored is the version of what is stored now; 0 = nothing is.
func (t *term) stored(ctx context.Context, id string) (int64, error) {
	r, err := t.e.store.Read(ctx, model.KindCredential, id)
	if fault.KindOf(err) == fault.NotFound {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return model.Version(r), nil
}

// outlast returns a context that ends some time after ctx.
func outlast(ctx context.Context) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(graceTime, cancel) })
	return longer, func() { stop(); cancel() }
}
