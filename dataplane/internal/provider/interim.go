package provider

import (
	"fairway/dataplane/internal/dialect"
	"fairway/pkg/operation"
)

func New(c Channel) (Adapter, error) { return openAI{c}, nil }

type openAI struct{ c Channel }

func (openAI) Plan(op operation.Operation, _ string) (operation.Operation, bool) {
	return op, op.Facts().Dialect == operation.OpenAI
}
func (o openAI) AppendTarget(dst []byte, r *Request) []byte {
	dst = append(dst, o.c.Path...)
	dst = append(dst, r.Op.Facts().Path...)
	if r.Op == operation.Realtime {
		dst = dialect.AppendQuery(dst, r.Query, r.Model)
	}
	return dst
}
func (openAI) AppendHeaders(dst []byte, _ *Request, c *Credential) ([]byte, dialect.Span) {
	var at dialect.Span
	if c.Secret != "" {
		dst = append(dst, "Authorization: Bearer "...)
		at.Start = len(dst)
		dst = append(dst, c.Secret...)
		at.End = len(dst)
		dst = append(dst, "\r\n"...)
	}
	if c.Organization != "" {
		dst = append(append(append(dst, "OpenAI-Organization: "...), c.Organization...), "\r\n"...)
	}
	return dst, at
}
func (openAI) OwnsHeader([]byte) bool               { return false }
func (openAI) Rules(operation.Operation) []Rule     { return nil }
func (openAI) Unframe(operation.Operation) Unframer { return nil }
