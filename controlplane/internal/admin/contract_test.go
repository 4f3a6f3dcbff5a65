package admin

import (
	"strings"
	"testing"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// TestEveryRequestFieldHasARule walks everything that a caller can send, of the admin and the sync API. A field has a rule,
// or it is a bool, which cannot be wrong, or a message, whose fields have.
func TestEveryRequestFieldHasARule(t *testing.T) {
	seen := map[protoreflect.FullName]bool{}
	var walk func(m protoreflect.MessageDescriptor)
	walk = func(m protoreflect.MessageDescriptor) {
		if seen[m.FullName()] {
			return
		}
		seen[m.FullName()] = true
		for i := range m.Fields().Len() {
			fd := m.Fields().Get(i)
			if traitOf(fd) == outputOnly || unread[fd.Parent().FullName()] {
				continue // cleared on arrival, or all of it will do
			}
			ours := fd.Message() != nil && strings.HasPrefix(string(fd.Message().FullName()), "fairway.")
			if ours && !fd.IsMap() {
				walk(fd.Message())
				if !fd.IsList() {
					continue
				}
			}
			if fd.Kind() == protoreflect.BoolKind || unread[fd.FullName()] {
				continue
			}
			if !proto.HasExtension(fd.Options(), validate.E_Field) {
				t.Errorf("%s has no rule", fd.FullName())
			}
		}
	}
	for _, file := range []protoreflect.FileDescriptor{
		adminv1.File_fairway_admin_v1_channel_proto, adminv1.File_fairway_admin_v1_account_proto, adminv1.File_fairway_admin_v1_group_proto,
		adminv1.File_fairway_admin_v1_key_proto, adminv1.File_fairway_admin_v1_model_proto, adminv1.File_fairway_admin_v1_operator_proto,
		adminv1.File_fairway_admin_v1_settings_proto, adminv1.File_fairway_admin_v1_fleet_proto, adminv1.File_fairway_admin_v1_usage_proto,
		adminv1.File_fairway_admin_v1_audit_proto, adminv1.File_fairway_admin_v1_diagnostics_proto,
		adminv1.File_fairway_admin_v1_tenant_proto, adminv1.File_fairway_admin_v1_notifier_proto, adminv1.File_fairway_admin_v1_limit_proto,
		syncv1.File_fairway_sync_v1_sync_proto, syncv1.File_fairway_sync_v1_enroll_proto,
	} {
		for i := range file.Services().Len() {
			methods := file.Services().Get(i).Methods()
			for j := range methods.Len() {
				walk(methods.Get(j).Input())
			}
		}
	}
	if !seen[(&resourcev1.Channel{}).ProtoReflect().Descriptor().FullName()] || !seen[(&syncv1.UsageRecord{}).ProtoReflect().Descriptor().FullName()] {
		t.Errorf("the walk did not come far: %v", seen)
	}
}

// unread are the fields, and the messages, of which every value will do: nobody reads them from a request, or all are
// possible. Counts and spans that a proxy reports are what they are. A decision is shown to the operator who asked for it,
// and a rule for what a client wrote into it would end the proxy's stream.
var unread = map[protoreflect.FullName]bool{
	"fairway.sync.v1.Ack.digest":         true,
	"fairway.admin.v1.Decision":          true,
	"fairway.sync.v1.ProxyStats":         true,
	"fairway.sync.v1.FaultCount.count":   true,
	"fairway.sync.v1.FamilyRest.rest":    true,
	"fairway.sync.v1.ProbeOutcome.asked": true,
	"fairway.sync.v1.Holding.ends_in":    true,

	"fairway.sync.v1.AccountDelta.ok":               true,
	"fairway.sync.v1.AccountDelta.failures_in_row":  true,
	"fairway.sync.v1.AccountDelta.in_flight":        true,
	"fairway.sync.v1.AccountDelta.ttft_ratio_count": true,
	"fairway.sync.v1.AccountDelta.duration_ms_sum":  true,
	"fairway.sync.v1.AccountDelta.duration_count":   true,
	"fairway.sync.v1.AccountDelta.headroom_reset":   true,
	"fairway.sync.v1.AccountDelta.tokens":           true,
	"fairway.sync.v1.AccountDelta.rest":             true,
	"fairway.sync.v1.AccountDelta.session_age":      true,
}
