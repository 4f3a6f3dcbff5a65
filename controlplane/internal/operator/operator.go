// Package operator says who calls the admin API and what they may do: bearer tokens, roles, and one table that gives
// every procedure the least role it needs.
//
// It refuses whatever is not in the table, every token that it cannot match to an enabled operator, and it does so
// before a byte of the request is decoded. It keeps no token: operators are stored with a SHA-256 of 256 random bits.
package operator

import (
	"context"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// Operator is the authenticated caller of one request.
type Operator struct {
	Name      string
	Role      resourcev1.Role
	Tenant    string // that the role is for; empty = everything
	RequestID string // also in the response header x-request-id
	Procedure string // such as /fairway.admin.v1.KeyService/CreateKey
}

type operatorKey struct{}

// From returns the caller that the interceptor authenticated; false outside of an authenticated call.
func From(ctx context.Context) (Operator, bool) {
	o, ok := ctx.Value(operatorKey{}).(Operator)
	return o, ok
}

// With returns a context that carries o. Only the interceptor calls it, and tests that call handlers directly.
func With(ctx context.Context, o Operator) context.Context {
	return context.WithValue(ctx, operatorKey{}, o)
}

// RoleName is the role as people write it: viewer, operator or owner.
func RoleName(r resourcev1.Role) string {
	switch r {
	case resourcev1.Role_ROLE_VIEWER:
		return "viewer"
	case resourcev1.Role_ROLE_OPERATOR:
		return "operator"
	case resourcev1.Role_ROLE_OWNER:
		return "owner"
	default:
		return "none"
	}
}
