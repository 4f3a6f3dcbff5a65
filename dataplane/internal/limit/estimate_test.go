package limit

import (
	"fmt"
	"math"
	"sync"
	"testing"

	"fairway/pkg/money"
)

func TestEstimate(t *testing.T) {
	prices := money.Prices{Input: 1e9, Output: 10e9} // 1,000 and 10,000 nano-USD a token
	learned := func(e *Estimator) {
		for i := range 200 {
			// Three bytes a token; 24 of 25 answers have 100 tokens, one has 8,000.
			out := int64(100)
			if i%25 == 0 {
				out = 8000
			}
			e.Learn("m", 3000, money.Tokens{Input: 1000, Output: out})
		}
	}
	tests := []struct {
		name   string
		learn  func(*Estimator)
		q      Request
		tokens [2]int64 // at least, at most
		cost   [2]int64
	}{
		{"unknown, no maximum", nil, Request{Model: "m", TextBytes: 400, Prices: prices}, [2]int64{1124, 1124}, [2]int64{100_000 + 10_240_000, 100_000 + 10_240_000}},
		{"unknown, small maximum", nil, Request{Model: "m", TextBytes: 400, MaxTokens: 7}, [2]int64{107, 107}, [2]int64{}},
		{"unknown, generous maximum", nil, Request{Model: "m", MaxTokens: 1e9}, [2]int64{4096, 4096}, [2]int64{}},
		{"no output", nil, Request{Model: "m", TextBytes: 401, NoOutput: true}, [2]int64{101, 101}, [2]int64{}},
		{"learned input", learned, Request{Model: "m", TextBytes: 3000, NoOutput: true}, [2]int64{995, 1000}, [2]int64{}},
		{"learned output", learned, Request{Model: "m"}, [2]int64{100, 150}, [2]int64{}},
		{"generous client", learned, Request{Model: "m", MaxTokens: 128_000, Prices: prices}, [2]int64{100, 150}, [2]int64{1e6, 1_500_000}},
		{"modest client", learned, Request{Model: "m", MaxTokens: 5}, [2]int64{5, 5}, [2]int64{}},
		{"another model", learned, Request{Model: "n", MaxTokens: 1e9}, [2]int64{4096, 4096}, [2]int64{}},
		{"ratios", nil, Request{Model: "m", MaxTokens: 10, Prices: prices, Ratio: 2_000_000, GroupRatio: 500_000}, [2]int64{10, 10}, [2]int64{100_000, 100_000}},
		{"beyond all bounds", nil, Request{Model: "m", TextBytes: math.MaxInt64, MaxTokens: math.MaxInt64, Prices: money.Prices{Input: math.MaxInt64}},
			[2]int64{maxAmount / 4, maxAmount}, [2]int64{maxAmount, maxAmount}},
		{"three answers", nil, Request{Model: "m", MaxTokens: 10, Answers: 3, Prices: prices}, [2]int64{30, 30}, [2]int64{300_000, 300_000}},
		{"answers beyond all bounds", nil, Request{Model: "m", MaxTokens: 10, Answers: math.MaxInt64}, [2]int64{1280, 1280}, [2]int64{}},
		{"two images", nil, Request{Model: "m", NoOutput: true, Images: true, Answers: 2, Prices: money.Prices{Image: 40_000_000}},
			[2]int64{0, 0}, [2]int64{80_000_000, 80_000_000}},
		{"an image", nil, Request{Model: "m", NoOutput: true, Images: true, Prices: money.Prices{Image: 40_000_000, Request: 5}},
			[2]int64{0, 0}, [2]int64{40_000_005, 40_000_005}},
		{"negative", nil, Request{Model: "m", TextBytes: -5, MaxTokens: -5}, [2]int64{1024, 1024}, [2]int64{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := NewEstimator()
			if tt.learn != nil {
				tt.learn(e)
			}
			got := e.Estimate(&tt.q)
			if got.Tokens < tt.tokens[0] || got.Tokens > tt.tokens[1] || got.Cost < tt.cost[0] || got.Cost > tt.cost[1] {
				t.Errorf("got %+v, want tokens %v and cost %v", got, tt.tokens, tt.cost)
			}
		})
	}
}

// TestEstimatorFollows: when a model's answers grow, the estimates do, though there were many short ones.
func TestEstimatorFollows(t *testing.T) {
	e := NewEstimator()
	for range 20_000 {
		e.Learn("m", 100, money.Tokens{Input: 25, Output: 10})
	}
	before := e.Estimate(&Request{Model: "m"}).Tokens
	for range 1000 {
		e.Learn("m", 100, money.Tokens{Input: 25, Output: 5000})
	}
	if after := e.Estimate(&Request{Model: "m"}).Tokens; before > 20 || after < 5000 {
		t.Errorf("%d before, %d after", before, after)
	}
}

// TestModelsAreBounded: names that nobody serves do not fill the memory, and the known ones are still learned from.
func TestModelsAreBounded(t *testing.T) {
	e := NewEstimator()
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			for i := range 2 * maxModels {
				e.Learn(fmt.Sprint("m", (i+g*100)%(2*maxModels)), 100, money.Tokens{Input: 50, Output: 10})
			}
		})
	}
	all.Wait()
	kept := map[string]bool{}
	for i := range e.slots {
		if l := e.slots[i].Load(); l != nil {
			if kept[l.model] {
				t.Errorf("%s is there twice", l.model)
			}
			kept[l.model] = true
		}
	}
	if len(kept) > maxModels || len(kept) != int(e.count.Load()) {
		t.Errorf("%d models are kept, counted %d", len(kept), e.count.Load())
	}
}
