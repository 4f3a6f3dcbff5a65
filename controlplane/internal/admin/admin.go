// Package admin serves the admin API (fairway.admin.v1): it turns requests of operators into guarded, audited writes of
// the store, and answers lists, usage, audit and diagnostics.
//
// It refuses callers that the operator room does not let through, fields that are not the caller's to set, resources
// that break a rule, and writes that are based on a state that has moved on. It lets no secret out: values are sealed or
// hashed before they are stored, every reply is redacted on its way out, and errors carry only text written for callers.
package admin

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"buf.build/go/protovalidate"
	"connectrpc.com/connect/v2"
	"connectrpc.com/grpchealth"

	"fairway/controlplane/internal/model"
	"fairway/controlplane/internal/operator"
	"fairway/controlplane/internal/store"
	"fairway/pkg/clientkey"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
)

// Store is the part of *store.Store that admin works on.
type Store interface {
	states
	writer
	auditor
	registrar
}

// states is the replica's copy of the data set.
type states interface {
	// State is the current copy; nil before the first load.
	State() *model.State
	// WaitRevision returns when the copy has caught up with the revision.
	WaitRevision(ctx context.Context, revision int64) error
}

// writer reads and writes the data set itself.
type writer interface {
	// Read is linearizable; NotFound when there is none.
	Read(ctx context.Context, k model.Kind, id string) (model.Resource, error)
	// Commit writes all or nothing; Stale, Exists, NotFound or Invalid when a guard fails.
	Commit(ctx context.Context, w store.Write) (revision int64, err error)
}

type auditor interface {
	Audit(ctx context.Context, q store.AuditQuery) ([]*adminv1.AuditRecord, string, error)
}

type registrar interface {
	Replicas(ctx context.Context) ([]*adminv1.Replica, error)
}

// Fleet knows the connected proxies of all replicas.
type Fleet interface {
	Status(ctx context.Context) (proxies []*adminv1.Proxy, unreachable []string, err error)
	WaitForRevision(ctx context.Context, revision int64, timeout time.Duration) (*adminv1.WaitForRevisionResponse, error)
}

// Usage answers from the books and corrects them; it settles what absent times mean, and bounds the range.
type Usage interface {
	Query(ctx context.Context, req *adminv1.QueryUsageRequest) (*adminv1.QueryUsageResponse, error)
	Correct(ctx context.Context, actor store.Actor, req *adminv1.CorrectUsageRequest) (*adminv1.CorrectUsageResponse, error)
	Corrections(ctx context.Context, req *adminv1.ListUsageCorrectionsRequest) (*adminv1.ListUsageCorrectionsResponse, error)
}

// JoinTokens manages with what proxies join.
type JoinTokens interface {
	// Create returns the record and the token itself, which is not kept.
	Create(ctx context.Context, ttl time.Duration, maxUses int32, actor store.Actor) (*adminv1.JoinToken, string, error)
	List(ctx context.Context) ([]*adminv1.JoinToken, error)
	Delete(ctx context.Context, id string, actor store.Actor) error
}

// Deps are what the service works with. All fields of the first block are required.
type Deps struct {
	Store   Store
	Keyring Sealer
	Pepper  []byte // of the MACs of client keys
	Fleet   Fleet
	Usage   Usage
	Tokens  JoinTokens

	// Prober tests channels; without one TestChannel is not implemented.
	Prober Prober
	// Health shows what the leader knows of the fleet; without one accounts are shown as is stored.
	Health Health
	// Lookups finds single requests; without one they cannot be explained.
	Lookups Lookups
	// Notifiers tests notifiers; without one TestNotifier is not implemented.
	Notifiers Notifiers
	// Limits knows where limits stand; without one nobody learns it.
	Limits Limits
	// Prices are the built-in ones; nil = none.
	Prices       *adminv1.GetBuiltInPricesResponse
	Log          *slog.Logger                // nil = discard
	Now          func() time.Time            // nil = time.Now
	Interceptors []connect.ServerInterceptor // outside of all others, for instance metrics
}

// Service is the admin API. It is safe for concurrent use and owns no goroutine.
type Service struct {
	store        Store
	sealer       Sealer
	hasher       *clientkey.Hasher
	fleet        Fleet
	usage        Usage
	tokens       JoinTokens
	prober       Prober
	views        *views
	lookups      Lookups
	limits       Limits
	notifiers    Notifiers
	prices       *adminv1.GetBuiltInPricesResponse
	log          *slog.Logger
	now          func() time.Time
	interceptors []connect.ServerInterceptor

	auth      *operator.Authenticator
	validator protovalidate.Validator
	filters   *filters
	health    *grpchealth.StaticChecker
}

// New prepares the service. It fails only when the rules of the .proto files do not compile.
func New(d Deps) (*Service, error) {
	validator, err := protovalidate.New()
	if err != nil {
		return nil, fmt.Errorf("prepare validation: %w", err)
	}
	filters, err := newFilters()
	if err != nil {
		return nil, fmt.Errorf("prepare filters: %w", err)
	}
	s := &Service{
		store: d.Store, sealer: d.Keyring, hasher: clientkey.NewHasher(d.Pepper),
		fleet: d.Fleet, usage: d.Usage, tokens: d.Tokens, prober: d.Prober, lookups: d.Lookups, limits: d.Limits, notifiers: d.Notifiers, prices: d.Prices,
		log: d.Log, now: d.Now, interceptors: d.Interceptors,
		auth:      operator.NewAuthenticator(d.Store, operator.Procedures()),
		validator: validator, filters: filters,
		health: grpchealth.NewStaticChecker(services()...),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.views = &views{health: d.Health, now: s.now, log: s.log}
	s.SetServing(false)
	return s, nil
}

// SetServing says what health checks answer, for the process and for each service: false until the door says that
// everything behind is there, and again when it drains. Calls are served either way.
func (s *Service) SetServing(serving bool) {
	status := grpchealth.StatusServing
	if !serving {
		status = grpchealth.StatusNotServing
	}
	for _, name := range append(services(), "") {
		s.health.SetStatus(name, status)
	}
}
