package operator

import (
	"connectrpc.com/grpchealth"
	"connectrpc.com/grpcreflect"

	"fairway/pkg/gen/fairway/admin/v1/adminv1connect"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// Rule says who may call a procedure. The zero Rule lets nobody.
type Rule struct {
	Open bool            // anybody, without a token
	Role resourcev1.Role // the least role; ROLE_UNSPECIFIED lets nobody
	// Scoped: also operators of a tenant, who see and change only what is in their scope. The handler sees to that.
	Scoped bool
}

// allows says whether an operator of this role may call.
func (r Rule) allows(role resourcev1.Role) bool {
	return r.Open || (r.Role != resourcev1.Role_ROLE_UNSPECIFIED && role >= r.Role)
}

// Procedures is the one table of who may call what. What is not in it is refused, and a test walks every registered
// procedure as every role, so a new one cannot be forgotten. It is closed to operators of a tenant unless it says
// otherwise.
func Procedures() map[string]Rule {
	var (
		anybody  = Rule{Open: true}
		viewer   = Rule{Role: resourcev1.Role_ROLE_VIEWER}
		operator = Rule{Role: resourcev1.Role_ROLE_OPERATOR}
		owner    = Rule{Role: resourcev1.Role_ROLE_OWNER}
		// And those of them whose role is for a tenant alone.
		viewers   = Rule{Role: resourcev1.Role_ROLE_VIEWER, Scoped: true}
		operators = Rule{Role: resourcev1.Role_ROLE_OPERATOR, Scoped: true}
	)
	return map[string]Rule{
		adminv1connect.ChannelServiceCreateChannelProcedure: operator,
		adminv1connect.ChannelServiceGetChannelProcedure:    viewer,
		adminv1connect.ChannelServiceListChannelsProcedure:  viewer,
		adminv1connect.ChannelServiceUpdateChannelProcedure: operator,
		adminv1connect.ChannelServiceDeleteChannelProcedure: operator,

		adminv1connect.AccountServiceCreateAccountProcedure: operator,
		adminv1connect.AccountServiceGetAccountProcedure:    viewer,
		adminv1connect.AccountServiceListAccountsProcedure:  viewer,
		adminv1connect.AccountServiceUpdateAccountProcedure: operator,
		adminv1connect.AccountServiceDeleteAccountProcedure: operator,
		adminv1connect.AccountServiceResetAccountProcedure:  operator,

		adminv1connect.GroupServiceCreateGroupProcedure: operator,
		adminv1connect.GroupServiceGetGroupProcedure:    viewer,
		adminv1connect.GroupServiceListGroupsProcedure:  viewer,
		adminv1connect.GroupServiceUpdateGroupProcedure: operator,
		adminv1connect.GroupServiceDeleteGroupProcedure: operator,

		adminv1connect.TenantServiceCreateTenantProcedure: operator,
		adminv1connect.TenantServiceGetTenantProcedure:    viewers,
		adminv1connect.TenantServiceListTenantsProcedure:  viewers,
		adminv1connect.TenantServiceUpdateTenantProcedure: operator,
		adminv1connect.TenantServiceDeleteTenantProcedure: operator,

		adminv1connect.KeyServiceCreateKeyProcedure: operators,
		adminv1connect.KeyServiceGetKeyProcedure:    viewers,
		adminv1connect.KeyServiceListKeysProcedure:  viewers,
		adminv1connect.KeyServiceUpdateKeyProcedure: operators,
		adminv1connect.KeyServiceDeleteKeyProcedure: operators,

		adminv1connect.ModelServiceCreateModelProcedure: operator,
		adminv1connect.ModelServiceGetModelProcedure:    viewer,
		adminv1connect.ModelServiceListModelsProcedure:  viewer,
		adminv1connect.ModelServiceUpdateModelProcedure: operator,
		adminv1connect.ModelServiceDeleteModelProcedure: operator,

		adminv1connect.ModelServiceGetBuiltInPricesProcedure: viewer,

		// Who may do what is the owners' affair alone: nobody raises their own role.
		adminv1connect.OperatorServiceCreateOperatorProcedure: owner,
		adminv1connect.OperatorServiceGetOperatorProcedure:    viewer,
		adminv1connect.OperatorServiceListOperatorsProcedure:  viewer,
		adminv1connect.OperatorServiceUpdateOperatorProcedure: owner,
		adminv1connect.OperatorServiceDeleteOperatorProcedure: owner,

		// A notifier holds a credential, and makes the server send to an address that somebody chose.
		adminv1connect.NotifierServiceCreateNotifierProcedure: owner,
		adminv1connect.NotifierServiceGetNotifierProcedure:    viewer,
		adminv1connect.NotifierServiceListNotifiersProcedure:  viewer,
		adminv1connect.NotifierServiceUpdateNotifierProcedure: owner,
		adminv1connect.NotifierServiceDeleteNotifierProcedure: owner,
		adminv1connect.NotifierServiceTestNotifierProcedure:   owner,

		adminv1connect.LimitServiceGetLimitsProcedure: viewers,

		adminv1connect.SettingsServiceGetSettingsProcedure:    viewer,
		adminv1connect.SettingsServiceUpdateSettingsProcedure: owner,

		// A join token lets a process receive every credential: the fleet's trust is the owners' affair too.
		adminv1connect.FleetServiceGetStatusProcedure:       viewer,
		adminv1connect.FleetServiceWaitForRevisionProcedure: viewer,
		adminv1connect.FleetServiceGetFleetHealthProcedure:  viewer,
		adminv1connect.FleetServiceCreateJoinTokenProcedure: owner,
		adminv1connect.FleetServiceListJoinTokensProcedure:  viewer,
		adminv1connect.FleetServiceDeleteJoinTokenProcedure: owner,

		adminv1connect.UsageServiceQueryUsageProcedure:           viewers,
		adminv1connect.UsageServiceListUsageCorrectionsProcedure: viewer,
		// A correction changes what somebody pays.
		adminv1connect.UsageServiceCorrectUsageProcedure: operator,

		adminv1connect.AuditServiceListAuditRecordsProcedure: viewer,
		adminv1connect.DiagnosticsServiceExplainProcedure:    viewer,
		// A test spends the account's money.
		adminv1connect.DiagnosticsServiceTestChannelProcedure: operator,
		reflection(grpcreflect.ReflectV1ServiceName):          viewer,
		reflection(grpcreflect.ReflectV1AlphaServiceName):     viewer,
		"/" + grpchealth.HealthV1ServiceName + "/" + "Check":  anybody, // probes hold no token, and the answer is one word
		"/" + grpchealth.HealthV1ServiceName + "/" + "Watch":  anybody,
	}
}

func reflection(service string) string { return "/" + service + "/ServerReflectionInfo" }
