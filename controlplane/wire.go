package controlplane

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fairway/controlplane/internal/admin"
	"fairway/controlplane/internal/build"
	"fairway/controlplane/internal/credential"
	"fairway/controlplane/internal/enroll"
	"fairway/controlplane/internal/expiry"
	"fairway/controlplane/internal/health"
	"fairway/controlplane/internal/lease"
	"fairway/controlplane/internal/ledger"
	"fairway/controlplane/internal/model"
	"fairway/controlplane/internal/notify"
	"fairway/controlplane/internal/prices"
	"fairway/controlplane/internal/publish"
	"fairway/controlplane/internal/store"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/serve"
	"fairway/pkg/trust"
	"fairway/pkg/version"
)

// booksRole is what the leader leads: whoever has it keeps the books, lends shares of limits, exchanges credentials, decides
// about health and tells notifiers.
const booksRole = "books"

// system is who acts when Fairway itself does.
func system(procedure string) store.Actor {
	return store.Actor{Operator: "system", Procedure: procedure}
}

// rooms is one replica, wired.
type rooms struct {
	c         Config
	log       *slog.Logger
	ls        *listeners
	store     *store.Store
	tokens    *enroll.Tokens[store.Actor]
	source    *enroll.Source
	authority *enroll.Authority
	ledger    *ledger.Ledger
	leases    *lease.Leases
	expiry    *expiry.Expiry
	exchanger *credential.Exchanger
	notify    *notify.Notify
	health    *health.Health
	publisher *publish.Publisher
	admin     *admin.Service
	self      *adminv1.Replica
	lineage   string
	moved     chan string
	// etcdFailed delivers the end of embedded etcd; nil where there is none.
	etcdFailed <-chan error
}

// wire opens what the data set keeps for all replicas (keys, certificate authority) and connects the rooms.
func (c Config) wire(ctx context.Context, st *store.Store, ls *listeners, registry *prometheus.Registry) (*rooms, error) {
	r := &rooms{c: c, log: c.Log, ls: ls, store: st, lineage: st.Lineage(), moved: make(chan string, 1)}
	_, sealed, err := st.Meta(ctx, metaDataKey)
	if err != nil {
		return nil, err
	}
	kek, err := c.kek(sealed)
	if err != nil {
		return nil, err
	}
	keyring, err := openKeyring(ctx, st, kek)
	if err != nil {
		return nil, err
	}
	pepper, err := openPepper(ctx, st, keyring)
	if err != nil {
		return nil, err
	}
	if r.authority, err = enroll.Open(ctx, st, keyring, r.lineage, nil); err != nil {
		return nil, err
	}
	at := ls.addresses()
	if c.SyncAdvertise != "" {
		at.Sync = c.SyncAdvertise
	}
	r.self = &adminv1.Replica{Id: ulid.Make().String(), Version: version.String(), AdminAddress: at.Admin, SyncAddress: at.Sync, StartTime: timestamppb.Now()}
	if r.source, err = r.authority.Source(r.self.GetId()); err != nil {
		return nil, err
	}
	r.tokens = enroll.NewTokens(r.authority, st, func(a store.Actor) string { return a.Operator }, c.Log.With("room", "enroll"))
	allowNotify, err := prefixes("notify-allow-cidr", c.NotifyAllowCIDRs)
	if err != nil {
		return nil, err
	}
	r.notify = notify.New(st, keyring, notify.Options{Allow: allowNotify, Log: c.Log.With("room", "notify"), Registry: registry})
	r.expiry = expiry.New(st, expiry.Options{Log: c.Log.With("room", "expiry")})
	r.leases = lease.New(st, lease.Options{
		Leader: leaderAddress(st), OnFirstUse: r.expiry.FirstUse,
		OnBudget: func(e lease.BudgetEvent) { r.notify.Budget(notify.BudgetEvent(e)) },
		Log:      c.Log.With("room", "lease"), Registry: registry,
	})
	r.ledger = ledger.New(st, ledger.Options{
		Log: c.Log.With("room", "ledger"), Registry: registry,
		Leader: leaderAddress(st),
		Name:   nameIn(st), Find: findIn(st), Group: groupIn(st), OnUnpriced: r.notify.Unpriced, OnEstimate: r.notify.Estimate,
		Budgets:   budgets{r.leases},
		HourlyFor: days(c.UsageHourlyDays), DailyFor: days(c.UsageDailyDays),
		QueryTimeout: c.UsageQueryTimeout, SlowQuery: c.SlowUsageQuery,
	})
	allow, err := prefixes("token-allow-cidr", c.TokenAllowCIDRs)
	if err != nil {
		return nil, err
	}
	r.exchanger = credential.New(st, keyring, credential.Options{Allow: allow, Log: c.Log.With("room", "credential"), Registry: registry})
	r.health = health.New(st, health.Options{
		ReplicaID: r.self.GetId(), Leader: leaderAddress(st), Log: c.Log.With("room", "health"), Registry: registry,
	})
	open := func(v *resourcev1.SealedValue, kind, id, field string) (string, error) {
		plain, err := keyring.Open(v, kind, id, field)
		return string(plain), err
	}
	table, err := prices.BuiltIn()
	if err != nil {
		return nil, err
	}
	builder := &build.Builder{Open: open, Pepper: pepper, BuiltIn: table.Models, BuiltInVersion: table.Version}
	if r.publisher, err = publish.New(builder, publish.Options{
		Lineage: r.lineage, ReplicaID: r.self.GetId(), Books: r.ledger, Enroller: enroll.NewProxies(r.authority, st), Health: r.health,
		Lender:  r.leases,
		Peers:   st.Replicas,
		PeerTLS: trust.ClientTLS(r.source.Certificate, r.authority.Pool, trust.RoleReplica, r.lineage),
		Log:     c.Log.With("room", "publish"), Registry: registry,
	}); err != nil {
		return nil, err
	}
	if r.admin, err = admin.New(admin.Deps{
		Store: st, Keyring: keyring, Pepper: pepper, Fleet: r.publisher, Usage: r.ledger, Tokens: r.tokens, Prober: prober{r.publisher},
		Health: r.publisher, Lookups: r.publisher, Limits: r.publisher, Notifiers: r.notify,
		Prices: &adminv1.GetBuiltInPricesResponse{Models: table.Models, PriceVersion: table.Version, AsOf: table.AsOf, Digest: table.Digest},
		Log:    c.Log.With("room", "admin"),
	}); err != nil {
		return nil, err
	}
	return r, nil
}

// budgets are what leases are to the ledger.
type budgets struct{ *lease.Leases }

// Charge begins a commit.
func (b budgets) Charge(ctx context.Context, records []*syncv1.UsageRecord) (ledger.Charges, error) {
	return b.Leases.Charge(ctx, records)
}

// leaderAddress finds the sync listener of the replica that keeps the books.
func leaderAddress(st *store.Store) func(ctx context.Context) (string, bool) {
	return func(ctx context.Context) (string, bool) {
		id, ok := st.Leader(ctx, booksRole)
		if !ok {
			return "", false
		}
		replicas, err := st.Replicas(ctx)
		if err != nil {
			return "", false
		}
		for _, r := range replicas {
			if r.GetId() == id {
				return r.GetSyncAddress(), true
			}
		}
		return "", false
	}
}

// nameIn looks names up in the replica's copy of the state.
func nameIn(st *store.Store) func(k model.Kind, id string) (string, bool) {
	return func(k model.Kind, id string) (string, bool) {
		state := st.State()
		if state == nil {
			return "", false
		}
		r, ok := state.Get(k, id)
		if !ok {
			return "", false
		}
		return r.GetMetadata().GetName(), true
	}
}

// findIn looks ids up in the replica's copy of the state, by name or id.
func findIn(st *store.Store) func(k model.Kind, nameOrID string) (string, bool) {
	return func(k model.Kind, nameOrID string) (string, bool) {
		state := st.State()
		if state == nil {
			return "", false
		}
		r, ok := state.Find(k, nameOrID)
		if !ok {
			return "", false
		}
		return r.GetMetadata().GetId(), true
	}
}

// groupIn finds the id of a key's group.
func groupIn(st *store.Store) func(keyID string) (string, bool) {
	return func(keyID string) (string, bool) {
		state := st.State()
		if state == nil {
			return "", false
		}
		r, ok := state.Get(model.KindKey, keyID)
		if !ok {
			return "", false
		}
		key, ok := r.(*resourcev1.Key)
		if !ok {
			return "", false
		}
		group, ok := state.ByName(model.KindGroup, cmp.Or(key.GetGroup(), model.DefaultGroup))
		if !ok {
			return "", false
		}
		return group.GetMetadata().GetId(), true
	}
}

func days(n int) time.Duration { return time.Duration(n) * 24 * time.Hour }

// run runs the rooms; what others stand on starts first and stops last.
func (r *rooms) run(ctx context.Context, ready *readiness) error {
	return serve.InOrder(ctx,
		serve.Part{Name: "publish", Run: r.publisher.Run},
		serve.Part{Name: "store", Run: func(ctx context.Context) error {
			return r.store.Run(ctx, r.observe)
		}},
		serve.Part{Name: "data set", Run: r.watchDataSet},
		serve.Part{Name: "registration", Run: func(ctx context.Context) error { return r.store.Register(ctx, r.self) }},
		serve.Part{Name: "books", Run: func(ctx context.Context) error {
			return r.store.Lead(ctx, booksRole, r.self.GetId(), r.lead)
		}},
		serve.Part{Name: "sync", Run: r.serveSync},
		serve.Part{Name: "admin", Run: func(ctx context.Context) error {
			return serve.HTTP(ctx, r.ls.admin, adminServer(r.admin.Handler()), drainTime)
		}},
		serve.Part{Name: "start", Run: func(ctx context.Context) error { return r.start(ctx, ready) }},
	)
}

// observe passes changes on. A change of lineage is for watchDataSet: certificates and streams belong to the old one.
func (r *rooms) observe(next *model.State, changes []model.Change) {
	if next.Lineage() != r.lineage {
		select {
		case r.moved <- next.Lineage():
		default:
		}
		return
	}
	r.publisher.Observe(next, changes)
	r.exchanger.Observe(changes)
	r.health.Observe(next, changes)
	r.notify.Observe(next, changes)
	r.leases.Observe(next, changes)
}

// lead does what only the leader does, until ctx ends.
func (r *rooms) lead(ctx context.Context, f store.Fence) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.leases.Lead(ctx, f) })
	g.Go(func() error { return r.ledger.Lead(ctx, f) })
	g.Go(func() error { return r.expiry.Lead(ctx, f) })
	g.Go(func() error { return r.exchanger.Lead(ctx, f) })
	g.Go(func() error { return r.health.Lead(ctx, f) })
	g.Go(func() error { return r.notify.Lead(ctx, f) })
	return g.Wait()
}

// othersLive says whether proxies could move to another replica.
func (r *rooms) othersLive(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	replicas, err := r.store.Replicas(ctx)
	return err == nil && slices.ContainsFunc(replicas, func(o *adminv1.Replica) bool { return o.GetId() != r.self.GetId() })
}

// watchDataSet ends the replica when embedded etcd has ended, and when a backup was restored under it: the next start
// serves the new lineage.
func (r *rooms) watchDataSet(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-r.etcdFailed:
		return fmt.Errorf("embedded etcd ended: %w", err)
	case now := <-r.moved:
		return fmt.Errorf("the data set was replaced (lineage %s, was %s): start again", now, r.lineage)
	}
}

// start does what the first moments ask for, says that the replica is there, and stays until the end.
func (r *rooms) start(ctx context.Context, ready *readiness) error {
	if err := r.firstSteps(ctx); err != nil {
		return err
	}
	r.admin.SetServing(true)
	ready.set(r.store)
	at := r.ls.addresses()
	r.log.Info("control plane is up", "replica", r.self.GetId(), "lineage", r.lineage, "admin", at.Admin, "sync", at.Sync, "ops", at.Ops)
	if r.c.Listening != nil {
		r.c.Listening(at)
	}
	<-ctx.Done()
	ready.set(nil)
	r.admin.SetServing(false)
	return nil
}

func (r *rooms) firstSteps(ctx context.Context) error {
	if err := r.store.WaitLoaded(ctx); err != nil {
		return err
	}
	token := filepath.Join(r.c.DataDir, "operator.token")
	founded, err := admin.Bootstrap(ctx, r.store, token, time.Now())
	if err != nil {
		return err
	}
	if founded {
		r.log.Info("created the first operator", "operator", admin.FirstOwner, "token_file", token)
	}
	if r.c.ResetOwnerToken && !founded {
		if err := admin.ResetOwner(ctx, r.store, token, time.Now()); err != nil {
			return err
		}
		r.log.Warn("the owner has a new token; the old one is refused", "operator", admin.FirstOwner, "token_file", token)
	}
	if err := r.tokens.EnsureLocal(ctx, filepath.Join(r.c.DataDir, "join.token"), system("start")); err != nil {
		return fmt.Errorf("write the local join token: %w", err)
	}
	return nil
}

// serveSync serves proxies and other replicas until ctx ends; then it sends them elsewhere before it lets go.
func (r *rooms) serveSync(ctx context.Context) error {
	creds := credentials.NewTLS(trust.ServerTLS(r.source.Certificate, r.authority.Pool))
	srv := grpc.NewServer(append(publish.ServerOptions(), grpc.Creds(creds))...)
	r.publisher.Register(srv)
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(r.ls.sync) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve sync: %w", err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	if r.othersLive(drain) {
		r.publisher.Drain(drain)
	} else {
		// There is nowhere to go; proxies serve on and come back to the next start.
		srv.Stop()
	}
	stopped := context.AfterFunc(drain, srv.Stop)
	srv.GracefulStop()
	stopped()
	if err := <-failed; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve sync: %w", err)
	}
	return nil
}
