package snapshot

import (
	"errors"
	"unique"

	"fairway/dataplane/internal/limit"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// Tenant owns keys. It is immutable.
type Tenant struct {
	ID       TenantID
	Name     string
	Disabled bool         // its keys are refused, and those of the tenants that are parts of it
	ParentID TenantID     // what it is a part of; "" = of nothing
	Limits   *limit.Terms // of all its keys, those of the tenants that are parts of it included; nil = none
}

func compileTenant(id string, version int64, body []byte) (form, error) {
	st := &syncv1.TenantState{}
	if err := unmarshal(body, st); err != nil {
		return nil, err
	}
	if st.GetParentId() == id {
		return nil, errors.New("parent_id: a tenant is no part of itself")
	}
	limits, err := terms(limit.Tenant, id, version, st.GetLimits())
	if err != nil {
		return nil, err
	}
	return &Tenant{
		ID: TenantID(id), Name: st.GetName(), Disabled: st.GetDisabled(),
		ParentID: TenantID(unique.Make(st.GetParentId()).Value()), Limits: limits,
	}, nil
}
