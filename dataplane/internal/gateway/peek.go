package gateway

import (
	"bytes"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/anthropic"
	"fairway/pkg/fault"
	"fairway/pkg/operation"
)

// peek finds what routing must know of a request, wherever its operation says it.
func peek(op operation.Operation, target *dialect.Target, body, contentType []byte) (dialect.Peek, *fault.Error) {
	switch facts := op.Facts(); {
	case facts.Body == operation.Multipart:
		return dialect.PeekMultipart(body, contentType)
	case op == operation.Batches:
		return peekBatch(body)
	case facts.Model == operation.InPath:
		p, f := dialect.PeekObject(body)
		p.Model = []byte(target.Model)
		p.Stream = facts.Stream == operation.InPath
		return p, f
	case op == operation.Moderations:
		return dialect.PeekBody(body, "omni-moderation-latest")
	}
	return dialect.PeekBody(body, "")
}

// eventsAsked says whether a query has alt=sse.
func eventsAsked(query []byte) bool { return hasPair(query, "alt=sse") }

// hasPair says whether a query has a pair, as it is written.
func hasPair(query []byte, pair string) bool {
	for len(query) > 0 {
		one, rest, _ := bytes.Cut(query, []byte{'&'})
		if string(one) == pair {
			return true
		}
		query = rest
	}
	return false
}

// peekBatch reads a batch: each of its requests names the model.
func peekBatch(body []byte) (dialect.Peek, *fault.Error) {
	p, f := dialect.PeekObject(body)
	if f != nil {
		return p, f
	}
	spans, name, f := anthropic.PeekBatch(body)
	if f != nil {
		return p, f
	}
	p.Model, p.ModelAt, p.ModelsAt = []byte(name), spans[0], spans[1:]
	return p, nil
}
