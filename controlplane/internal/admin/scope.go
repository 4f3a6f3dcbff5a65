package admin

import (
	"context"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"fairway/controlplane/internal/model"
	"fairway/controlplane/internal/operator"
	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// scope is how much of the data set a caller's role is for: everything, or a tenant and its parts, and their keys. What is
// out of it is not there for the caller: reads, writes and filters see nothing of it, and it is not found. Which
// procedures such a caller may call at all, operator.Procedures says.
type scope struct {
	tenant string // empty = everything
}

func scopeFor(ctx context.Context) scope {
	o, _ := operator.From(ctx)
	return scope{tenant: o.Tenant}
}

// sees says whether a resource is in the scope.
func (sc scope) sees(st *model.State, r model.Resource) bool {
	if sc.tenant == "" {
		return true
	}
	switch r := r.(type) {
	case *resourcev1.Key:
		return model.Within(st, r.GetTenant(), sc.tenant)
	case *resourcev1.Tenant:
		return model.Within(st, r.GetMetadata().GetName(), sc.tenant)
	default:
		return false
	}
}

// find finds a resource by name or id; what is out of the scope is not there.
func (sc scope) find(st *model.State, kind model.Kind, nameOrID string) (model.Resource, bool) {
	r, ok := st.Find(kind, nameOrID)
	if !ok || !sc.sees(st, r) {
		return nil, false
	}
	return r, true
}

// shown is a resource as the caller sees it. Which accounts a key is bound to says what the fleet is made of.
func (sc scope) shown(r model.Resource) (model.Resource, error) {
	key, ok := r.(*resourcev1.Key)
	if sc.tenant == "" || !ok || len(key.GetAccounts()) == 0 {
		return r, nil
	}
	bare, err := copyOf(key)
	if err != nil {
		return nil, err
	}
	bare.Accounts = nil
	return bare, nil
}

// beyond are the fields of a key that show or choose what the fleet is made of.
func beyond() []string { return []string{"accounts", "debug_headers"} }

func refuseBeyond(field string) error {
	return fault.New(fault.Denied, "key.%s is not for operators of a tenant", field).WithParam("key." + field)
}

// admit takes a new resource into the scope: a key that names no tenant gets the caller's.
func (sc scope) admit(st *model.State, r model.Resource) error {
	if sc.tenant == "" {
		return nil
	}
	key, ok := r.(*resourcev1.Key)
	switch {
	case !ok:
		return fault.New(fault.Denied, "operators of a tenant create keys alone")
	case len(key.GetAccounts()) > 0:
		return refuseBeyond("accounts")
	case key.GetDebugHeaders():
		return refuseBeyond("debug_headers")
	case key.GetTenant() == "":
		key.Tenant = sc.tenant
	}
	return sc.holds(st, key)
}

// holds refuses a key of a tenant that is out of the scope, whether there is one of that name or not.
func (sc scope) holds(st *model.State, key *resourcev1.Key) error {
	if sc.sees(st, key) {
		return nil
	}
	return fault.New(fault.Denied, "key.tenant: %q is neither the tenant %q nor a part of it", key.GetTenant(), sc.tenant).
		WithParam("key.tenant")
}

// change keeps an update in the scope. What the caller is not shown stays as it is, though "*" would clear it.
func (sc scope) change(st *model.State, before, after, in model.Resource, mask *fieldmaskpb.FieldMask) error {
	if sc.tenant == "" {
		return nil
	}
	old, isOld := before.(*resourcev1.Key)
	key, isKey := after.(*resourcev1.Key)
	given, isGiven := in.(*resourcev1.Key)
	if !isOld || !isKey || !isGiven {
		return fault.New(fault.Denied, "operators of a tenant change keys alone")
	}
	for _, field := range beyond() {
		if slices.Contains(mask.GetPaths(), field) {
			return refuseBeyond(field)
		}
	}
	switch {
	case len(given.GetAccounts()) > 0:
		return refuseBeyond("accounts")
	case given.GetDebugHeaders() && !old.GetDebugHeaders():
		return refuseBeyond("debug_headers")
	}
	key.Accounts, key.DebugHeaders = old.GetAccounts(), old.GetDebugHeaders()
	return sc.holds(st, key)
}

// nobody is the id of no key.
const nobody = "-"

// narrow makes a query of usage one of the scope's keys: those that are there. By id alone, because one key's name may be
// another's id. What tells the fleet's channels and accounts apart is refused.
func (sc scope) narrow(st *model.State, req *adminv1.QueryUsageRequest) (*adminv1.QueryUsageRequest, error) {
	if sc.tenant == "" {
		return req, nil
	}
	for _, d := range req.GetGroupBy() {
		if d == adminv1.UsageDimension_USAGE_DIMENSION_CHANNEL || d == adminv1.UsageDimension_USAGE_DIMENSION_ACCOUNT {
			return nil, fault.New(fault.Denied, "group_by: channels and accounts are not for operators of a tenant").WithParam("group_by")
		}
	}
	if len(req.GetChannels())+len(req.GetAccounts()) > 0 {
		return nil, fault.New(fault.Denied, "channels and accounts are not for operators of a tenant")
	}
	own := proto.CloneOf(req)
	own.Keys = nil
	for _, name := range req.GetKeys() {
		r, ok := sc.find(st, model.KindKey, name)
		if !ok {
			return nil, missing(model.KindKey, name)
		}
		own.Keys = append(own.Keys, r.GetMetadata().GetId())
	}
	if len(req.GetKeys()) > 0 {
		return own, nil
	}
	for r := range st.All(model.KindKey) {
		if sc.sees(st, r) {
			own.Keys = append(own.Keys, r.GetMetadata().GetId())
		}
	}
	if len(own.GetKeys()) == 0 {
		own.Keys = []string{nobody} // no keys would mean all of them
	}
	return own, nil
}
