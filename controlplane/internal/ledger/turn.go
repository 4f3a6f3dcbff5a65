package ledger

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"

	"google.golang.org/protobuf/proto"

	"fairway/controlplane/internal/store"
	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
)

// turn is where an answer goes on: after so many rows, of the books at a revision. Zero is the first page, of now.
type turn struct {
	revision int64
	skip     int64
}

// A token is base64url of a format byte and of five numbers of eight bytes: what identifies the query, the revision, the
// range in hours, which may have come from the clock, and how many rows were shown. It is a position and no permission:
// a forged one shows nothing that its holder could not ask for.
const (
	tokenFormat = 1
	tokenSize   = 1 + 5*8
)

// turnTo goes to the page of a token; empty is the first.
func (q *query) turnTo(token string) error {
	if token == "" {
		return nil
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(b) != tokenSize || b[0] != tokenFormat {
		return fault.New(fault.Invalid, "page_token: is not one of ours").WithParam("page_token")
	}
	number := func(i int) int64 { return int64(binary.BigEndian.Uint64(b[1+8*i:])) }
	if number(0) != q.identity() {
		return fault.New(fault.Invalid, "page_token: is of another query").WithParam("page_token")
	}
	q.turn = turn{revision: number(1), skip: number(4)}
	q.from, q.to = number(2), number(3)
	if q.turn.revision <= 0 || q.turn.skip < 0 || q.turn.skip > maxRows || q.from < 0 || q.to > lastHour || q.from > q.to {
		return fault.New(fault.Invalid, "page_token: is not one of ours").WithParam("page_token")
	}
	return nil
}

// token is for the page that begins after so many rows.
func (q *query) token(skip int64) string {
	b := []byte{tokenFormat}
	for _, n := range []int64{q.identity(), q.turn.revision, q.from, q.to, skip} {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// identity is a digest of everything that must not change between pages.
func (q *query) identity() int64 {
	bare, ok := proto.Clone(q.req).(*adminv1.QueryUsageRequest)
	if !ok {
		return 0
	}
	bare.PageToken, bare.PageSize = "", 0
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(bare)
	if err != nil {
		return 0
	}
	digest := sha256.Sum256(raw)
	return int64(binary.BigEndian.Uint64(digest[:]))
}

// cut takes the page's rows, and puts the next page's token into res if there is one.
func (q *query) cut(groups []store.UsageKey, res *adminv1.QueryUsageResponse) []store.UsageKey {
	size := int64(q.req.GetPageSize())
	if size <= 0 || size > maxPage {
		size = maxPage
	}
	from := min(q.turn.skip, int64(len(groups)))
	to := min(from+size, int64(len(groups)))
	if to < int64(len(groups)) {
		res.NextPageToken = q.token(to)
	}
	return groups[from:to]
}
