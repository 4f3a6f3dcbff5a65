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
		{"far too much", Tokens{Input: math.MaxInt64, Output: math.MaxInt64}, Prices{Input: math.MaxInt64, Output: math.MaxInt64},
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
			got, err := Cost(Use{Tokens: tt.tokens}, tt.prices, tt.ratios...)
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("got %d, %v; want %d, %v", got, err, tt.want, tt.err)
			}
		})
	}
}

// exact is Cost in arithmetic without bounds, and token by token: each kind is counted by itself.
func exact(u Use, p Prices, ratios []PPM) *big.Int {
	sum := new(big.Int)
	million := big.NewInt(1_000_000)
	pay := func(n int64, price NanoUSD, unit *big.Int) {
		part := new(big.Int).Mul(big.NewInt(n), big.NewInt(int64(price)))
		sum.Add(sum, part.Mul(part, unit))
	}
	one := big.NewInt(1)
	text := u.Input
	for _, part := range []struct {
		n     int64
		price NanoUSD
	}{{u.Cached, p.CachedInput}, {u.CacheWrite, p.CacheWrite}, {u.CacheWriteLong, p.CacheWriteLong}, {u.AudioInput, p.AudioInput}} {
		n := min(part.n, text)
		pay(n, part.price, one)
		text -= n
	}
	pay(text, p.Input, one)
	pay(u.Reasoning, p.Reasoning, one)
	pay(u.AudioOutput, p.AudioOutput, one)
	pay(u.Output-u.Reasoning-u.AudioOutput, p.Output, one)
	pay(u.Images, p.Image, million)
	pay(u.Requests, p.Request, million)
	divisor := new(big.Int).Set(million)
	for _, r := range ratios {
		sum.Mul(sum, big.NewInt(int64(r)))
		divisor.Mul(divisor, million)
	}
	// floor((2*sum + divisor) / (2*divisor)) is half up.
	sum.Lsh(sum, 1).Add(sum, divisor)
	return sum.Quo(sum, divisor.Lsh(divisor, 1))
}

// numbers are of every magnitude, not only huge ones.
func numbers() *rapid.Generator[int64] {
	return rapid.Custom(func(t *rapid.T) int64 {
		return int64(rapid.Uint64().Draw(t, "n") >> rapid.IntRange(1, 63).Draw(t, "shift"))
	})
}

func soundTokens(t *rapid.T) Tokens {
	tokens := Tokens{Input: numbers().Draw(t, "input"), Output: numbers().Draw(t, "output")}
	part := func(of int64, name string) int64 { return rapid.Int64Range(0, of).Draw(t, name) }
	tokens.Cached = part(tokens.Input, "cached")
	tokens.CacheWrite = part(tokens.Input-tokens.Cached, "write")
	tokens.CacheWriteLong = part(tokens.Input-tokens.Cached-tokens.CacheWrite, "long write")
	tokens.AudioInput = part(tokens.Input, "audio in")
	tokens.Reasoning = part(tokens.Output, "reasoning")
	tokens.AudioOutput = part(tokens.Output-tokens.Reasoning, "audio out")
	return tokens
}

func anyPrices(t *rapid.T) Prices {
	price := rapid.Map(numbers(), func(n int64) NanoUSD { return NanoUSD(n) })
	return Prices{
		Input: price.Draw(t, "price"), CachedInput: price.Draw(t, "cached price"), Output: price.Draw(t, "output price"),
		CacheWrite: price.Draw(t, "write price"), CacheWriteLong: price.Draw(t, "long write price"),
		Reasoning: price.Draw(t, "reasoning price"), AudioInput: price.Draw(t, "audio in price"), AudioOutput: price.Draw(t, "audio out price"),
		Image: price.Draw(t, "image price"), Request: price.Draw(t, "request price"),
	}
}

func TestCostIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		use := Use{Tokens: soundTokens(t), Images: numbers().Draw(t, "images"), Requests: numbers().Draw(t, "requests")}
		p := anyPrices(t)
		ratios := rapid.SliceOfN(rapid.Map(numbers(), func(n int64) PPM { return PPM(n) }), 0, 2).Draw(t, "ratios")

		want := exact(use, p, ratios)
		got, err := Cost(use, p, ratios...)
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

// At prices that do not tell kinds apart, only the wholes matter.
func TestPartsArePaidOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tokens, _ := anyTokens(t).Sound()
		in, out := NanoUSD(rapid.Int64Range(0, 1e12).Draw(t, "in")), NanoUSD(rapid.Int64Range(0, 1e12).Draw(t, "out"))
		flat := Prices{Input: in, CachedInput: in, CacheWrite: in, CacheWriteLong: in, AudioInput: in, Output: out, Reasoning: out, AudioOutput: out}
		got, err := Cost(Use{Tokens: tokens}, flat)
		want, wantErr := Cost(Use{Tokens: Tokens{Input: tokens.Input, Output: tokens.Output}}, Prices{Input: in, Output: out})
		if got != want || !errors.Is(err, wantErr) {
			t.Fatalf("got %d, %v; want %d, %v", got, err, want, wantErr)
		}
	})
}

func anyTokens(t *rapid.T) Tokens {
	n := rapid.OneOf(rapid.Int64(), rapid.Int64Range(-2, 20))
	return Tokens{
		Input: n.Draw(t, "input"), Cached: n.Draw(t, "cached"), Output: n.Draw(t, "output"), CacheWrite: n.Draw(t, "write"),
		CacheWriteLong: n.Draw(t, "long"), Reasoning: n.Draw(t, "reasoning"), AudioInput: n.Draw(t, "audio in"), AudioOutput: n.Draw(t, "audio out"),
	}
}

// Whatever a provider says: what comes out of Sound is never refused for what it is, and what fitted stays as it was.
func TestSound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := anyTokens(t)
		out, ok := in.Sound()
		if ok != (in == out) {
			t.Fatalf("%+v became %+v, and that is said to have fitted: %v", in, out, ok)
		}
		if again, ok := out.Sound(); !ok || again != out {
			t.Fatalf("%+v is not sound after all", out)
		}
		if _, err := Cost(Use{Tokens: out}, Prices{Input: 1}); errors.Is(err, ErrInvalid) {
			t.Fatalf("%+v is refused", out)
		}
		if out.Input > max(in.Input, 0) || out.Output > max(in.Output, 0) {
			t.Fatalf("%+v became more: %+v", in, out)
		}
	})
	for name, tt := range map[string]struct{ in, want Tokens }{
		"more cached than input": {Tokens{Input: 5, Cached: 9, CacheWrite: 1}, Tokens{Input: 5, Cached: 5}},
		"writes beside cached":   {Tokens{Input: 10, Cached: 6, CacheWrite: 3, CacheWriteLong: 4}, Tokens{Input: 10, Cached: 6, CacheWrite: 3, CacheWriteLong: 1}},
		"negative":               {Tokens{Input: -1, Output: 3, Reasoning: -2}, Tokens{Output: 3}},
		"thought and spoken":     {Tokens{Output: 10, Reasoning: 8, AudioOutput: 5}, Tokens{Output: 10, Reasoning: 8, AudioOutput: 2}},
	} {
		if got, ok := tt.in.Sound(); got != tt.want || ok {
			t.Errorf("%s: %+v, %v, want %+v", name, got, ok, tt.want)
		}
	}
	both := Tokens{Input: 10, Cached: 8, AudioInput: 9}
	if got, ok := both.Sound(); got != both || !ok {
		t.Errorf("sound that came from a cache: %+v, %v", got, ok)
	}
}

// With more than two ratios an intermediate may overflow, but a result that is given is right.
func TestCostWithManyRatios(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		use := Use{Tokens: Tokens{Output: rapid.Int64Range(0, math.MaxInt64).Draw(t, "output")}}
		p := Prices{Output: NanoUSD(rapid.Int64Range(0, math.MaxInt64).Draw(t, "price"))}
		ratio := rapid.Map(rapid.Int64Range(0, math.MaxInt64), func(n int64) PPM { return PPM(n) })
		ratios := rapid.SliceOfN(ratio, 3, 20).Draw(t, "ratios")
		got, err := Cost(use, p, ratios...)
		if want := exact(use, p, ratios); err == nil && (!want.IsInt64() || want.Int64() != int64(got)) {
			t.Fatalf("got %d, want %v", got, want)
		}
	})
}

func TestCostOfPieces(t *testing.T) {
	use := Use{Tokens: Tokens{Input: 1_000_000}, Images: 3, Requests: 1}
	p := Prices{Input: 7, Image: 40_000_000, Request: 5}
	if got, err := Cost(use, p, 2*One); got != 2*(7+3*40_000_000+5) || err != nil {
		t.Errorf("got %d, %v", got, err)
	}
	for _, bad := range []Use{{Images: -1}, {Requests: -1}} {
		if _, err := Cost(bad, p); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	if got, err := Cost(Use{Images: math.MaxInt64, Requests: math.MaxInt64}, Prices{Image: math.MaxInt64, Request: math.MaxInt64}, math.MaxInt64, 0); got != 0 || err != nil {
		t.Errorf("free of charge: %d, %v", got, err)
	}
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
	use := Use{Tokens: Tokens{Input: 1000, Cached: 10, CacheWrite: 5, Output: 500, Reasoning: 100}, Requests: 1}
	p := Prices{Input: 3e9, CachedInput: 3e8, CacheWrite: 4e9, Output: 15e9, Reasoning: 15e9, Request: 7}
	group, channel := One, PPM(900_000)
	if n := testing.AllocsPerRun(100, func() {
		use.Tokens, _ = use.Sound()
		_, _ = Cost(use, p, group, channel)
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}
