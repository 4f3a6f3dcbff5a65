package ctl

import (
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// changes collects the paths of an update's field mask: one per flag that was given.
type changes struct {
	fs    *pflag.FlagSet
	paths []string
	err   error
}

// on runs set when the flag was given, and notes the path.
func (c *changes) on(flag, path string, set func() error) {
	if c.err != nil || !c.fs.Changed(flag) {
		return
	}
	if err := set(); err != nil {
		c.err = fmt.Errorf("--%s: %w", flag, err)
		return
	}
	c.paths = append(c.paths, path)
}

// always wraps a set that cannot fail.
func always(set func()) func() error {
	return func() error { set(); return nil }
}

// ratio reads "1.25" as millionths.
func ratio(s string) (int64, error) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f < 0 || f > 1000 || math.IsNaN(f) {
		return 0, fmt.Errorf("%q is not a ratio between 0 and 1000, such as 1.25", s)
	}
	return int64(math.Round(f * 1e6)), nil
}

// usdPerMillion reads "2.50" (USD per million tokens) as nano-USD per million tokens.
func usdPerMillion(s string) (int64, error) {
	f, err := strconv.ParseFloat(strings.TrimPrefix(s, "$"), 64)
	if err != nil || f < 0 || f > 1e6 || math.IsNaN(f) {
		return 0, fmt.Errorf("%q is not a price in USD per million tokens, such as 2.50", s)
	}
	return int64(math.Round(f * 1e9)), nil
}

// enumFlag reads an enum's short form.
func enumFlag[E interface {
	~int32
	Descriptor() protoreflect.EnumDescriptor
}](s string) (E, error) {
	var zero E
	n, err := enumNumber(zero.Descriptor(), s)
	return E(n), err
}

// expiry reads "2027-01-31", an RFC 3339 time, or a duration from now such as 720h. "never" clears.
func expiry(s string, now time.Time) (*timestamppb.Timestamp, error) {
	if s == "never" {
		return nil, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d > 0 {
		return timestamppb.New(now.Add(d)), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			if t.Before(now) {
				return nil, fmt.Errorf("%s is in the past; to refuse a key now, disable it", s)
			}
			return timestamppb.New(t), nil
		}
	}
	return nil, fmt.Errorf("%q is not a date (2027-01-31), a time (RFC 3339), a duration from now (720h) or never", s)
}

// named refuses a list that was given and names nothing; all says what to give instead.
func named(list []string, all string) ([]string, error) {
	for _, v := range list {
		if v == "" {
			return nil, fmt.Errorf("an empty name; give %s", all)
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("empty; give %s", all)
	}
	return list, nil
}

func optionalDuration(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}

// secretSource are the three ways to hand over a secret; none of them puts it into the process list.
type secretSource struct {
	file  string
	env   string
	stdin bool
}

func (src *secretSource) bind(fs *pflag.FlagSet, what string) {
	fs.StringVar(&src.file, "secret-file", "", "file that holds "+what)
	fs.StringVar(&src.env, "secret-env", "", "environment variable that holds "+what)
	fs.BoolVar(&src.stdin, "secret-stdin", false, "read "+what+" from standard input")
}

func (src *secretSource) given() bool { return src.file != "" || src.env != "" || src.stdin }

// read returns the secret, or nil when none of the flags was given.
func (src *secretSource) read(s *session) (*resourcev1.Secret, error) {
	n := 0
	for _, given := range []bool{src.file != "", src.env != "", src.stdin} {
		if given {
			n++
		}
	}
	switch {
	case n == 0:
		return nil, nil
	case n > 1:
		return nil, fmt.Errorf("give only one of --secret-file, --secret-env and --secret-stdin")
	}
	var raw []byte
	var from string
	var err error
	switch {
	case src.file != "":
		from = src.file
		raw, err = os.ReadFile(src.file)
	case src.env != "":
		from = "variable " + src.env
		raw = []byte(s.o.Getenv(src.env))
	default:
		from = "standard input"
		raw, err = io.ReadAll(io.LimitReader(s.o.In, 1<<16))
	}
	if err != nil {
		return nil, fmt.Errorf("read secret: %w", err)
	}
	value := strings.TrimSpace(string(raw))
	if value == "" {
		return nil, fmt.Errorf("the secret in %s is empty", from)
	}
	return &resourcev1.Secret{Value: value}, nil
}
