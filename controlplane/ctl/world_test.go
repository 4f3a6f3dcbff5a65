package ctl

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	"fairway/pkg/gen/fairway/admin/v1/adminv1connect"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// world is an admin API that remembers what it was asked.
type world struct {
	t   *testing.T
	url string
	env map[string]string

	mu       sync.Mutex
	asked    []proto.Message
	accounts map[string]*resourcev1.Account
	health   *adminv1.FleetHealth
	status   *adminv1.GetStatusResponse
	decision *adminv1.Decision
	err      error // of the fleet
	key      *resourcev1.Key
	races    int // updates of the key that somebody else is ahead of
	limits   []*adminv1.LimitStatus
	tested   *adminv1.TestNotifierResponse
}

const token = "fwop-test"

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, env: map[string]string{"FAIRWAY_TOKEN": token}, accounts: map[string]*resourcev1.Account{}, status: &adminv1.GetStatusResponse{}}
	server := connect.NewServer()
	adminv1connect.RegisterAccountServiceHandler(server, accountHandler{w: w})
	adminv1connect.RegisterSettingsServiceHandler(server, settingsHandler{w: w})
	adminv1connect.RegisterFleetServiceHandler(server, fleetHandler{w: w})
	adminv1connect.RegisterDiagnosticsServiceHandler(server, diagnosticsHandler{w: w})
	adminv1connect.RegisterKeyServiceHandler(server, keyHandler{w: w})
	adminv1connect.RegisterTenantServiceHandler(server, tenantHandler{w: w})
	adminv1connect.RegisterNotifierServiceHandler(server, notifierHandler{w: w})
	adminv1connect.RegisterLimitServiceHandler(server, limitHandler{w: w})
	mux := http.NewServeMux()
	connecthttp.Mount(mux, server)
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+token {
			rw.WriteHeader(http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(rw, r)
	}))
	t.Cleanup(srv.Close)
	w.url = srv.URL
	return w
}

// note remembers a request.
func (w *world) note(m proto.Message) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = append(w.asked, m)
}

// run runs a command line and returns what it wrote.
func (w *world) run(args ...string) (out, errs string, err error) {
	w.t.Helper()
	var stdout, stderr bytes.Buffer
	err = w.root(&stdout, &stderr, args...).ExecuteContext(w.t.Context())
	return stdout.String(), stderr.String(), err
}

func (w *world) root(stdout, stderr *bytes.Buffer, args ...string) *cobra.Command {
	root := &cobra.Command{Use: "fairway", SilenceUsage: true, SilenceErrors: true}
	w.env["FAIRWAY_SERVER"] = w.url
	root.AddCommand(Commands(Options{
		In: strings.NewReader(""), Out: stdout, Err: stderr, Getenv: func(k string) string { return w.env[k] },
	})...)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetArgs(args)
	return root
}

func (w *world) account(name string) (*resourcev1.Account, error) {
	if a, ok := w.accounts[name]; ok {
		return a, nil
	}
	return nil, connect.Errorf(connect.CodeNotFound, "there is no account %q", name)
}

type accountHandler struct {
	adminv1connect.UnimplementedAccountServiceHandler
	w *world
}

func (h accountHandler) ResetAccount(_ context.Context, req *adminv1.ResetAccountRequest) (*adminv1.ResetAccountResponse, error) {
	h.w.note(req)
	a, err := h.w.account(req.GetName())
	if err != nil {
		return nil, err
	}
	a.Health = &resourcev1.AccountHealth{State: resourcev1.HealthState_HEALTH_STATE_CLOSED, Reason: "reset"}
	if req.GetEnable() {
		a.Disabled = false
	}
	return &adminv1.ResetAccountResponse{Account: a, Revision: int64(len(h.w.asked))}, nil
}

func (h accountHandler) UpdateAccount(_ context.Context, req *adminv1.UpdateAccountRequest) (*adminv1.UpdateAccountResponse, error) {
	h.w.note(req)
	a, err := h.w.account(req.GetAccount().GetMetadata().GetName())
	if err != nil {
		return nil, err
	}
	a.Disabled = req.GetAccount().GetDisabled()
	return &adminv1.UpdateAccountResponse{Account: a, Revision: int64(len(h.w.asked))}, nil
}

func (h accountHandler) GetAccount(_ context.Context, req *adminv1.GetAccountRequest) (*adminv1.GetAccountResponse, error) {
	a, err := h.w.account(req.GetName())
	return &adminv1.GetAccountResponse{Account: a}, err
}

func (h accountHandler) ListAccounts(context.Context, *adminv1.ListAccountsRequest) (*adminv1.ListAccountsResponse, error) {
	res := &adminv1.ListAccountsResponse{}
	for _, name := range []string{"a1", "a2", "a3"} {
		if a, ok := h.w.accounts[name]; ok {
			res.Accounts = append(res.Accounts, a)
		}
	}
	return res, nil
}

type settingsHandler struct {
	adminv1connect.UnimplementedSettingsServiceHandler
	w *world
}

func (h settingsHandler) GetSettings(context.Context, *adminv1.GetSettingsRequest) (*adminv1.GetSettingsResponse, error) {
	return &adminv1.GetSettingsResponse{Settings: &resourcev1.Settings{
		DefaultStrategy:   resourcev1.Strategy_STRATEGY_BALANCED,
		Weights:           &resourcev1.BalanceWeights{Cost: 0.4, Performance: 0.3, Load: 0.2, Reliability: 0.1},
		Recovery:          &resourcev1.Recovery{Open: durationpb.New(5 * time.Minute), Check: resourcev1.CheckMode_CHECK_MODE_MODELS},
		DecisionSamplePpm: 10_000,
	}}, nil
}

func (h settingsHandler) UpdateSettings(_ context.Context, req *adminv1.UpdateSettingsRequest) (*adminv1.UpdateSettingsResponse, error) {
	h.w.note(req)
	return &adminv1.UpdateSettingsResponse{Settings: req.GetSettings(), Revision: 7}, nil
}

type fleetHandler struct {
	adminv1connect.UnimplementedFleetServiceHandler
	w *world
}

func (h fleetHandler) GetStatus(context.Context, *adminv1.GetStatusRequest) (*adminv1.GetStatusResponse, error) {
	return h.w.status, nil
}

func (h fleetHandler) GetFleetHealth(context.Context, *adminv1.GetFleetHealthRequest) (*adminv1.GetFleetHealthResponse, error) {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	if h.w.err != nil {
		return nil, h.w.err
	}
	return &adminv1.GetFleetHealthResponse{Health: h.w.health}, nil
}

func (h fleetHandler) WaitForRevision(_ context.Context, req *adminv1.WaitForRevisionRequest) (*adminv1.WaitForRevisionResponse, error) {
	h.w.note(req)
	return &adminv1.WaitForRevisionResponse{Applied: true}, nil
}

type diagnosticsHandler struct {
	adminv1connect.UnimplementedDiagnosticsServiceHandler
	w *world
}

func (h diagnosticsHandler) Explain(_ context.Context, req *adminv1.ExplainRequest) (*adminv1.ExplainResponse, error) {
	h.w.note(req)
	if req.GetRequestId() == "" {
		return &adminv1.ExplainResponse{Served: true, Verdict: "it would be served"}, nil
	}
	if h.w.decision == nil {
		return nil, connect.Errorf(connect.CodeNotFound, "nobody remembers a request %q", req.GetRequestId())
	}
	return &adminv1.ExplainResponse{Decision: h.w.decision}, nil
}

type keyHandler struct {
	adminv1connect.UnimplementedKeyServiceHandler
	w *world
}

func (h keyHandler) GetKey(_ context.Context, req *adminv1.GetKeyRequest) (*adminv1.GetKeyResponse, error) {
	if req.GetName() != h.w.key.GetMetadata().GetName() {
		return nil, connect.Errorf(connect.CodeNotFound, "there is no key %q", req.GetName())
	}
	return &adminv1.GetKeyResponse{Key: h.w.key}, nil
}

func (h keyHandler) CreateKey(_ context.Context, req *adminv1.CreateKeyRequest) (*adminv1.CreateKeyResponse, error) {
	h.w.note(req)
	return &adminv1.CreateKeyResponse{Key: req.GetKey(), Secret: "sk-fw-shown-once", Revision: 3}, nil
}

func (h keyHandler) UpdateKey(_ context.Context, req *adminv1.UpdateKeyRequest) (*adminv1.UpdateKeyResponse, error) {
	h.w.note(req)
	if md := h.w.key.GetMetadata(); h.w.races > 0 {
		h.w.races--
		md.Etag += "0"
	}
	if have := h.w.key.GetMetadata().GetEtag(); req.GetKey().GetMetadata().GetEtag() != "" && req.GetKey().GetMetadata().GetEtag() != have {
		return nil, connect.Errorf(connect.CodeFailedPrecondition, "the etag is %s", have)
	}
	return &adminv1.UpdateKeyResponse{Key: req.GetKey(), Revision: 4}, nil
}

type tenantHandler struct {
	adminv1connect.UnimplementedTenantServiceHandler
	w *world
}

func (h tenantHandler) CreateTenant(_ context.Context, req *adminv1.CreateTenantRequest) (*adminv1.CreateTenantResponse, error) {
	h.w.note(req)
	return &adminv1.CreateTenantResponse{Tenant: req.GetTenant(), Revision: 5}, nil
}

func (h tenantHandler) ListTenants(context.Context, *adminv1.ListTenantsRequest) (*adminv1.ListTenantsResponse, error) {
	return &adminv1.ListTenantsResponse{Tenants: []*resourcev1.Tenant{
		{Metadata: &resourcev1.Metadata{Name: "acme"}, Description: "a customer", Groups: []string{"default", "premium"},
			Limits: &resourcev1.Limits{Budgets: []*resourcev1.Budget{{AmountNanoUsd: 100e9, Window: resourcev1.BudgetWindow_BUDGET_WINDOW_MONTH}}}},
		{Metadata: &resourcev1.Metadata{Name: "acme-alice"}, Parent: "acme", Disabled: true},
	}}, nil
}

type notifierHandler struct {
	adminv1connect.UnimplementedNotifierServiceHandler
	w *world
}

func (h notifierHandler) CreateNotifier(_ context.Context, req *adminv1.CreateNotifierRequest) (*adminv1.CreateNotifierResponse, error) {
	h.w.note(req)
	return &adminv1.CreateNotifierResponse{Notifier: req.GetNotifier(), Revision: 6}, nil
}

func (h notifierHandler) UpdateNotifier(_ context.Context, req *adminv1.UpdateNotifierRequest) (*adminv1.UpdateNotifierResponse, error) {
	h.w.note(req)
	return &adminv1.UpdateNotifierResponse{Notifier: req.GetNotifier(), Revision: 7}, nil
}

func (h notifierHandler) TestNotifier(_ context.Context, req *adminv1.TestNotifierRequest) (*adminv1.TestNotifierResponse, error) {
	h.w.note(req)
	return h.w.tested, nil
}

type limitHandler struct {
	adminv1connect.UnimplementedLimitServiceHandler
	w *world
}

func (h limitHandler) GetLimits(_ context.Context, req *adminv1.GetLimitsRequest) (*adminv1.GetLimitsResponse, error) {
	h.w.note(req)
	if h.w.err != nil {
		return nil, h.w.err
	}
	return &adminv1.GetLimitsResponse{Limits: h.w.limits}, nil
}

// noon is when everything happens.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func afterNoon(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(noon.Add(d)) }
