package gateway

import (
	"bytes"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/meter"
	"fairway/dataplane/internal/report"
	"fairway/dataplane/internal/snapshot"
	"fairway/pkg/fault"
	"fairway/pkg/money"
	"fairway/pkg/operation"
)

// refuseUnpriced refuses what has no price, where the settings want that. The price may have been set a moment ago, so it
// gets the bounded catch-up.
func (x *exchange) refuseUnpriced() *fault.Error {
	if !x.snap.UnknownPrice().Refuse || !x.op.Facts().Billed && x.op != operation.Batches || x.priceKnown(x.snap) {
		return nil
	}
	x.catchUp("price/"+x.model, x.priceKnown)
	if !x.snap.UnknownPrice().Refuse || x.priceKnown(x.snap) {
		return nil
	}
	return fault.New(fault.Denied, "the price of the model %q is not known, and models without a price are not served here", x.model).
		WithCode("model_not_priced").WithParam("model")
}

func (x *exchange) priceKnown(s *snapshot.Snapshot) bool {
	m, ok := s.Model(x.model)
	if ok {
		_, ok = m.Price(x.now.UnixMilli(), 0, 0)
	}
	return ok
}

// price puts what the usage costs into the record: at the prices of the pinned snapshot, and the ratios of the channel that
// served and of the caller's group.
func (x *exchange) price(r *report.Record, u *meter.Usage, failed bool) {
	sound, ok := u.Sound()
	if !ok {
		// A provider that contradicts itself is believed as far as it makes sense.
		x.g.meters.inconsistent.Inc()
		u.Tokens = sound
		r.Input, r.Cached, r.Output = u.Input, u.Cached, u.Output
	}
	r.Unpriced = true
	prices := x.ratesOf(r, u.Input)
	if prices == nil {
		return
	}
	use := money.Use{Tokens: u.Tokens, Images: x.images.made(x.sse)}
	if !failed && (x.status/100 == 2 || x.op == operation.Realtime) {
		use.Requests = 1
	}
	cost, err := money.Cost(use, *prices, x.served.Channel.PriceRatio, x.group.PriceRatio)
	if err != nil {
		x.g.log.Error("cannot price a request", "request_id", x.requestID(), "model", x.model, "error", err)
		r.PriceVersion, r.DefaultPriced, r.PriceVariant, r.PriceAbove = 0, false, 0, 0
		return
	}
	r.CostNanoUSD, r.Unpriced = int64(cost), false
	x.cost += r.CostNanoUSD
}

// ratesOf finds what holds for the request and stamps the record with it; nil = it costs nothing that is known.
func (x *exchange) ratesOf(r *report.Record, input int64) *money.Prices {
	if m, ok := x.snap.Model(x.model); ok {
		if rate, ok := m.Price(r.TimeMS, x.variant, input); ok {
			r.PriceVersion, r.PriceVariant, r.PriceAbove = m.PriceVersion, int32(rate.Variant), rate.Above
			return rate.Prices
		}
	}
	unknown := x.snap.UnknownPrice()
	if unknown.Default != nil {
		r.PriceVersion, r.DefaultPriced = unknown.Version, true
	}
	return unknown.Default
}

// seeVariant keeps in which way the provider says that it served, where that matters to the price. What it does not say was
// the standard way: clients cannot choose their price by asking.
func (x *exchange) seeVariant(head, window []byte) {
	m, ok := x.snap.Model(x.model)
	if !ok || !m.Varied() {
		return
	}
	if !x.sse {
		v, _ := dialect.ServedObject(window)
		x.variant = snapshot.Variant(v)
		return
	}
	v, said := dialect.ServedStream(window)
	if !said {
		v, _ = dialect.ServedStream(head)
	}
	x.variant = snapshot.Variant(v)
}

// imageCounter is what counts the images of an answer as it goes by; nil where nothing depends on it.
func (x *exchange) imageCounter() func(piece []byte) int {
	switch x.op {
	case operation.Images, operation.ImageEdits, operation.ImageVariations:
	default:
		return nil
	}
	if m, ok := x.snap.Model(x.model); ok && !m.ByImage() {
		return nil
	}
	return x.images.feed
}

// imageCount counts images by what stands before each of them: in a plain answer its data or its address, in a stream the
// name of the event that completes it. Text in an answer cannot pass for these: its quotes are escaped.
type imageCount struct {
	data, links, events int64
	carry               [imageMark]byte
	have                int
}

// imageMark is how long a mark is at most.
const imageMark = 32

// made is how many were made. In a stream there may be data of unfinished ones too.
func (c *imageCount) made(stream bool) int64 {
	if stream {
		return c.events
	}
	return max(c.data, c.links)
}

// feed counts in the next piece, wherever the pieces were cut. What it returns, bytes of text, is none.
func (c *imageCount) feed(p []byte) int {
	for _, m := range []struct {
		mark string
		n    *int64
	}{
		{`"b64_json":`, &c.data},
		{`"url":`, &c.links},
		{`image_generation.completed"`, &c.events},
		{`image_edit.completed"`, &c.events},
	} {
		*m.n += int64(bytes.Count(p, []byte(m.mark)))
		// What began in the pieces before and ends in this one.
		var seam [2 * imageMark]byte
		before := min(c.have, len(m.mark)-1)
		n := copy(seam[:], c.carry[c.have-before:c.have])
		n += copy(seam[n:], p[:min(len(p), len(m.mark)-1)])
		*m.n += int64(bytes.Count(seam[:n], []byte(m.mark)))
	}
	if len(p) >= imageMark {
		c.have = copy(c.carry[:], p[len(p)-imageMark:])
		return 0
	}
	if over := c.have + len(p) - imageMark; over > 0 {
		c.have = copy(c.carry[:], c.carry[over:c.have])
	}
	c.have += copy(c.carry[c.have:], p)
	return 0
}
