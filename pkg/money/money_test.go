package money

import (
	"errors"
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

func TestCost(t *testing.T) {
	const usd = 1_000_000_000
	tests := []struct {
		name   string
		tokens Tokens
		prices Prices
		ratios []PPM
		want   NanoUSD
		err    error
	}{
		{"nothing", Tokens{}, Prices{Input: usd}, nil, 0, nil},
		{"a million of each", Tokens{Input: 2e6, Cached: 1e6, Output: 1e6}, Prices{Input: 3 * usd, CachedInput: usd / 10, Output: 15 * usd},
			nil, 18*usd + usd/10, nil},
		{"one token", Tokens{Input: 1}, Prices{Input: 2_500_000_000}, nil, 2500, nil},
		{"half rounds up", Tokens{Output: 1}, Prices{Output: 500_000}, nil, 1, nil},
		{"below half rounds down", Tokens{Output: 1}, Prices{Output: 499_999}, nil, 0, nil},
		{"ratio of one", Tokens{Output: 1}, Prices{Output: 5_000_000}, []PPM{One, One}, 5, nil},
		// 0.4 + 0.4 nano: parts that were rounded first would be nothing.
		{"rounds the sum once", Tokens{Input: 1, Output: 1}, Prices{Input: 400_000, Output: 400_000}, nil, 1, nil},
		// 0.5 * 0.9 = 0.45: rounded before the ratio it would be 1.
		{"rounds after the ratios", Tokens{Output: 1}, Prices{Output: 500_000}, []PPM{900_000}, 0, nil},
		{"half after two ratios", Tokens{Output: 1}, Prices{Output: 2_000_000}, []PPM{500_000, 500_000}, 1, nil},
		{"free of charge", Tokens{Output: 1e9}, Prices{Output: usd}, []PPM{0}, 0, nil},
		{"the largest", Tokens{Output: math.MaxInt64}, Prices{Output: 1e6}, nil, math.MaxInt64, nil},
		{"large and small cancel out", Tokens{Output: math.MaxInt64}, Prices{Output: 1e12}, []PPM{1}, math.MaxInt64, nil},
		{"too much", Tokens{Output: math.MaxInt64}, Prices{Output: 1e6 + 1}, nil, 0, ErrOverflow},
		{"far too much", Tokens{Input: math.MaxInt64, Output: math.MaxInt64}, Prices{math.MaxInt64, 0, math.MaxInt64},
			[]PPM{math.MaxInt64, math.MaxInt64, math.MaxInt64}, 0, ErrOverflow},
		{"negative tokens", Tokens{Input: -1}, Prices{}, nil, 0, ErrInvalid},
		{"negative output", Tokens{Output: -1}, Prices{}, nil, 0, ErrInvalid},
		{"negative cached", Tokens{Cached: -1}, Prices{}, nil, 0, ErrInvalid},
		{"negative price", Tokens{}, Prices{CachedInput: -1}, nil, 0, ErrInvalid},
		{"negative ratio", Tokens{}, Prices{}, []PPM{-1}, 0, ErrInvalid},
		{"more cached than input", Tokens{Input: 1, Cached: 2}, Prices{Input: 1e9}, nil, 0, ErrInvalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Cost(tt.tokens, tt.prices, tt.ratios...)
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("got %d, %v; want %d, %v", got, err, tt.want, tt.err)
			}
		})
	}
}

// exact is Cost in arithmetic without bounds.
func exact(tokens Tokens, p Prices, ratios []PPM) *big.Int {
	product := func(a, b int64) *big.Int { return new(big.Int).Mul(big.NewInt(a), big.NewInt(b)) }
	sum := product(tokens.Input-tokens.Cached, int64(p.Input))
	sum.Add(sum, product(tokens.Cached, int64(p.CachedInput)))
	sum.Add(sum, product(tokens.Output, int64(p.Output)))
	million := big.NewInt(1_000_000)
	divisor := new(big.Int).Set(million)
	for _, r := range ratios {
		sum.Mul(sum, big.NewInt(int64(r)))
		divisor.Mul(divisor, million)
	}
	// floor((2*sum + divisor) / (2*divisor)) is half up.
	sum.Lsh(sum, 1).Add(sum, divisor)
	return sum.Quo(sum, divisor.Lsh(divisor, 1))
}

func TestCostIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// Numbers of every magnitude, not only huge ones.
		number := rapid.Custom(func(t *rapid.T) int64 {
			return int64(rapid.Uint64().Draw(t, "n") >> rapid.IntRange(1, 63).Draw(t, "shift"))
		})
		var tokens Tokens
		tokens.Input = number.Draw(t, "input")
		tokens.Cached = rapid.Int64Range(0, tokens.Input).Draw(t, "cached")
		tokens.Output = number.Draw(t, "output")
		price := rapid.Map(number, func(n int64) NanoUSD { return NanoUSD(n) })
		p := Prices{price.Draw(t, "price"), price.Draw(t, "cached price"), price.Draw(t, "output price")}
		ratios := rapid.SliceOfN(rapid.Map(number, func(n int64) PPM { return PPM(n) }), 0, 2).Draw(t, "ratios")

		want := exact(tokens, p, ratios)
		got, err := Cost(tokens, p, ratios...)
		if !want.IsInt64() {
			if !errors.Is(err, ErrOverflow) {
				t.Fatalf("got %d, %v for %v; want ErrOverflow", got, err, want)
			}
			return
		}
		if err != nil || int64(got) != want.Int64() {
			t.Fatalf("got %d, %v; want %v", got, err, want)
		}
	})
}

// With more than two ratios an intermediate may overflow, but a result that is given is right.
func TestCostWithManyRatios(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tokens := Tokens{Output: rapid.Int64Range(0, math.MaxInt64).Draw(t, "output")}
		p := Prices{Output: NanoUSD(rapid.Int64Range(0, math.MaxInt64).Draw(t, "price"))}
		ratio := rapid.Map(rapid.Int64Range(0, math.MaxInt64), func(n int64) PPM { return PPM(n) })
		ratios := rapid.SliceOfN(ratio, 3, 20).Draw(t, "ratios")
		got, err := Cost(tokens, p, ratios...)
		if want := exact(tokens, p, ratios); err == nil && (!want.IsInt64() || want.Int64() != int64(got)) {
			t.Fatalf("got %d, want %v", got, want)
		}
	})
}

func TestAdd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		edge := rapid.OneOf(rapid.Int64(), rapid.SampledFrom([]int64{0, 1, -1, math.MaxInt64, math.MinInt64, math.MaxInt64 - 1}))
		a, b := edge.Draw(t, "a"), edge.Draw(t, "b")
		want := new(big.Int).Add(big.NewInt(a), big.NewInt(b))
		got, err := Add(a, b)
		if want.IsInt64() != (err == nil) || err == nil && got != want.Int64() {
			t.Fatalf("Add(%d, %d) = %d, %v; want %v", a, b, got, err, want)
		}
	})
}

func TestCostDoesNotAllocate(t *testing.T) {
	tokens, p := Tokens{Input: 1000, Cached: 10, Output: 500}, Prices{3e9, 3e8, 15e9}
	group, channel := One, PPM(900_000)
	if n := testing.AllocsPerRun(100, func() { _, _ = Cost(tokens, p, group, channel) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}
