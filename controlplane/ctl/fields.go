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

// secret reads a secret where it is said to be, and notes the path.
func (c *changes) secret(s *session, src *secretSource, path string, set func(*resourcev1.Secret)) {
	file, env, stdin := src.flags()
	if c.err != nil || !c.fs.Changed(file) && !c.fs.Changed(env) && !c.fs.Changed(stdin) {
		return
	}
	sec, err := src.read(s)
	if err == nil && sec == nil {
		err = fmt.Errorf("--%s, --%s or --%s names nothing", file, env, stdin)
	}
	if err != nil {
		c.err = err
		return
	}
	set(sec)
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

// day is what d means in durations: 24 hours, whatever the calendar says.
const day = 24 * time.Hour

// length reads a duration as Go writes it, or a number of days: 12h, 30d.
func length(s string) (time.Duration, error) {
	if n, ok := strings.CutSuffix(s, "d"); ok {
		days, err := strconv.ParseUint(n, 10, 16)
		return time.Duration(days) * day, err
	}
	return time.ParseDuration(s)
}

// lengthText is the shortest form of what length reads.
func lengthText(d time.Duration) string {
	if d%day == 0 && d > 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = text[:len(text)-2]
		}
	}
	return text
}

// expiry reads "2027-01-31", an RFC 3339 time, or a duration from now such as 12h or 30d. "never" clears.
func expiry(s string, now time.Time) (*timestamppb.Timestamp, error) {
	if s == "never" {
		return nil, nil
	}
	if d, err := length(s); err == nil && d > 0 {
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
	return nil, fmt.Errorf("%q is not a date (2027-01-31), a time (RFC 3339), a duration from now (12h, 30d) or never", s)
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

// nothing is the value of a flag for no resource, or none of a kind.
const nothing = "none"

// reference reads the name of a resource that may be none. An empty value is refused: what belongs to nobody has fewer
// limits, and "$TENANT" was not set.
func reference(name string) (string, error) {
	switch name {
	case nothing:
		return "", nil
	case "":
		return "", fmt.Errorf("an empty name; give %q to name none", nothing)
	}
	return name, nil
}

// chosen reads a list of which an empty one means all; no name begins with a star.
func chosen(list []string) ([]string, error) {
	if len(list) == 1 && list[0] == "*" {
		return nil, nil
	}
	return named(list, "'*' for all")
}

func optionalDuration(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}

// secretSource are the three ways to hand over a secret; none of them puts it into the process list.
type secretSource struct {
	// prefix of the flags' names; empty = secret.
	prefix string
	file   string
	env    string
	stdin  bool
}

func (src *secretSource) bind(fs *pflag.FlagSet, what string) {
	file, env, stdin := src.flags()
	fs.StringVar(&src.file, file, "", "file that holds "+what)
	fs.StringVar(&src.env, env, "", "environment variable that holds "+what)
	fs.BoolVar(&src.stdin, stdin, false, "read "+what+" from standard input")
}

func (src *secretSource) flags() (file, env, stdin string) {
	p := first(src.prefix, "secret")
	return p + "-file", p + "-env", p + "-stdin"
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
		file, env, stdin := src.flags()
		return nil, fmt.Errorf("give only one of --%s, --%s and --%s", file, env, stdin)
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
