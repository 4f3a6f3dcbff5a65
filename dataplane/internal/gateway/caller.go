package gateway

import (
	"bytes"
	"context"
	"crypto/sha256"

	"fairway/dataplane/internal/health"
	"fairway/dataplane/internal/snapshot"
	"fairway/pkg/clientkey"
	"fairway/pkg/fault"
)

// findCaller is the walk's authentication. A key that is well-formed but unknown may have been made a moment ago, so it
// gets the bounded catch-up: keys without the right checksum never come so far, and the Holder bounds how many different
// causes may wait and remembers what was awaited in vain.
func (x *exchange) findCaller(presented []byte) *fault.Error {
	ip := x.in.RemoteIP()
	nowMS := x.start.UnixMilli()
	key, f := x.g.auth.Caller(x.snap, presented, ip, nowMS)
	if f != nil && x.g.auth.Unknown(f) {
		sum := sha256.Sum256(presented)
		x.catchUp("key/"+string(sum[:]), func(s *snapshot.Snapshot) bool {
			_, again := x.g.auth.Caller(s, presented, ip, nowMS)
			return again == nil || !x.g.auth.Unknown(again)
		})
		key, f = x.g.auth.Caller(x.snap, presented, ip, nowMS)
	}
	if f != nil {
		return f
	}
	x.key = key
	// Most keys do not ask who the client is, and its headers are not looked through for them.
	if !key.AllowsClient(nil) && !key.AllowsClient(x.in.Get("user-agent")) {
		return fault.New(fault.Denied, "the API key may not be used by this client; its User-Agent is not among those allowed").
			WithCode("client_not_allowed")
	}
	group, ok := x.snap.Group(key.GroupID)
	if !ok {
		x.catchUp("group/"+string(key.GroupID), func(s *snapshot.Snapshot) bool {
			_, ok := s.Group(key.GroupID)
			return ok
		})
		if group, ok = x.snap.Group(key.GroupID); !ok {
			return fault.New(fault.Unavailable, "the group of the API key is not known to this proxy").
				WithCode("group_not_found")
		}
	}
	x.group = group
	return nil
}

// catchUp waits, briefly, for a snapshot that has what the pinned one lacks, and pins what is current then.
func (x *exchange) catchUp(cause string, found func(*snapshot.Snapshot) bool) {
	s, ok := x.g.snapshots.Miss(context.Background(), x.snap, cause, found)
	x.snap, x.now = s, x.g.now()
	if ok {
		x.miss = "found"
		x.g.meters.missFound.Inc()
		x.g.health.Count(health.MissedFound, 1)
	} else {
		x.miss = "final"
		x.g.meters.missFinal.Inc()
		x.g.health.Count(health.MissedFinal, 1)
	}
}

// credential finds what the client presents: every dialect's clients put it somewhere else. What has not the length of a
// key counts only where nothing has: SDKs want something in their own place, and people write anything there. Two keys are
// refused: whoever stands before or behind us might go by the other one.
func (x *exchange) credential() ([]byte, *fault.Error) {
	found, many := x.target.Key, x.target.KeyTwice
	bearers := 0
	for name, value := range x.in.Fields {
		switch len(name) {
		case len("authorization"):
			if !isName(name, "authorization") {
				continue
			}
			bearers++
			value = bearer(value)
		case len("x-api-key"):
			if !isName(name, "x-api-key") {
				continue
			}
		case len("x-goog-api-key"):
			if !isName(name, "x-goog-api-key") {
				continue
			}
		case len("api-key"):
			if !isName(name, "api-key") {
				continue
			}
		default:
			continue
		}
		switch {
		case len(found) != clientkey.Len:
			if len(value) == clientkey.Len || len(found) == 0 {
				found = value
			}
		case len(value) == clientkey.Len && !bytes.Equal(found, value):
			many = true
		}
	}
	if many || bearers > 1 {
		return nil, fault.New(fault.Unauthenticated, "more than one API key").WithCode("invalid_api_key")
	}
	return found, nil
}

// bearer takes the credential out of an Authorization header; empty when there is none.
func bearer(value []byte) []byte {
	const scheme = "bearer "
	if len(value) <= len(scheme) || !bytes.EqualFold(value[:len(scheme)], []byte(scheme)) {
		return nil
	}
	return bytes.Trim(value[len(scheme):], " ")
}
