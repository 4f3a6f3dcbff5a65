package admin

import (
	"context"
	"net/http"
	"slices"

	connectv1 "connectrpc.com/connect"
	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"connectrpc.com/connect/v2/connectproto"
	"connectrpc.com/grpchealth"
	"connectrpc.com/grpcreflect"

	"fairway/controlplane/internal/operator"
	"fairway/pkg/fault"
	"fairway/pkg/gen/fairway/admin/v1/adminv1connect"
)

// maxProbe bounds a health or reflection request, which is a name.
const maxProbe = 64 << 10

// services are the names of all services of the admin API.
func services() []string {
	return []string{
		adminv1connect.AccountServiceName,
		adminv1connect.AuditServiceName,
		adminv1connect.ChannelServiceName,
		adminv1connect.DiagnosticsServiceName,
		adminv1connect.FleetServiceName,
		adminv1connect.GroupServiceName,
		adminv1connect.KeyServiceName,
		adminv1connect.LimitServiceName,
		adminv1connect.ModelServiceName,
		adminv1connect.NotifierServiceName,
		adminv1connect.OperatorServiceName,
		adminv1connect.SettingsServiceName,
		adminv1connect.TenantServiceName,
		adminv1connect.UsageServiceName,
	}
}

// Server dispatches the procedures of the admin API, without a transport; tests may run it in process.
func (s *Service) Server() *connect.Server {
	chain := append(slices.Clone(s.interceptors), s.edge, s.auth.Interceptor(), s.calls, s.messages)
	server := connect.NewServer(chain...)
	adminv1connect.RegisterAccountServiceHandler(server, accountService{s})
	adminv1connect.RegisterAuditServiceHandler(server, auditService{s})
	adminv1connect.RegisterChannelServiceHandler(server, channelService{s})
	adminv1connect.RegisterDiagnosticsServiceHandler(server, diagnosticsService{s})
	adminv1connect.RegisterFleetServiceHandler(server, fleetService{s})
	adminv1connect.RegisterGroupServiceHandler(server, groupService{s})
	adminv1connect.RegisterKeyServiceHandler(server, keyService{s})
	adminv1connect.RegisterLimitServiceHandler(server, limitService{s})
	adminv1connect.RegisterModelServiceHandler(server, modelService{s})
	adminv1connect.RegisterNotifierServiceHandler(server, notifierService{s})
	adminv1connect.RegisterOperatorServiceHandler(server, operatorService{s})
	adminv1connect.RegisterSettingsServiceHandler(server, settingsService{s})
	adminv1connect.RegisterTenantServiceHandler(server, tenantService{s})
	adminv1connect.RegisterUsageServiceHandler(server, usageService{s})
	// Procedures that nobody registered pass the same checks first: a caller without a token learns nothing.
	server.SetUnknownHandler(func(ctx context.Context, spec connect.Spec, _ connect.ServerStream) error {
		return fault.New(fault.Unimplemented, "%s is not served here", spec.Procedure)
	})
	return server
}

// Handler serves gRPC, gRPC-Web and JSON over HTTP on one port, with health checks and reflection beside. The server
// around it must speak HTTP/1.1 and unencrypted HTTP/2 (http.Protocols), and bound reading of headers in time.
func (s *Service) Handler() http.Handler {
	mux := http.NewServeMux()
	strict := connectproto.NewJSONCodec()
	strict.UnmarshalOptions.DiscardUnknown = false // a field that is misspelt must not be ignored
	connecthttp.Mount(mux, s.Server(),
		connecthttp.WithReadMaxBytes(maxRequest),
		connecthttp.WithCodecs(connectproto.NewBinaryCodec(), strict),
	)

	// Both libraries still speak connect v1, which sets no bound of its own.
	bounded := connectv1.WithReadMaxBytes(maxProbe)
	mux.Handle(grpchealth.NewHandler(s.health, bounded))
	// Reflection shows the whole surface of the API; like everything but health it is for operators. grpcurl sends its
	// -H header there too.
	reflector := grpcreflect.NewStaticReflector(append(services(), grpchealth.HealthV1ServiceName)...)
	path, reflection := grpcreflect.NewHandlerV1(reflector, bounded)
	mux.Handle(path, s.auth.Guard(reflection))
	path, reflection = grpcreflect.NewHandlerV1Alpha(reflector, bounded)
	mux.Handle(path, s.auth.Guard(reflection))
	return operator.RequestIDs(mux)
}
