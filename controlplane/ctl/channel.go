package ctl

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

func channels() kind {
	return kind{
		name:  "channel",
		title: "Channel",
		short: "Routes to upstream endpoints",
		example: `  fairway channel create openai --provider openai --base-url https://api.openai.com \
      --models gpt-4o,gpt-4o-mini --secret-env OPENAI_API_KEY --wait`,
		header:  []string{"name", "provider", "base url", "models", "groups", "priority", "weight", "state"},
		fresh:   func(md *resourcev1.Metadata) resource { return &resourcev1.Channel{Metadata: md} },
		row:     typedRow(channelRow),
		fields:  channelFields,
		create:  createChannelCommand,
		cascade: true,
	}
}

func channelRow(r *resourcev1.Channel) []string {
	models := strings.Join(r.GetModels(), ",")
	if len(r.GetModels()) > 4 {
		models = fmt.Sprintf("%s … (%d)", strings.Join(r.GetModels()[:3], ","), len(r.GetModels()))
	}
	return []string{
		r.GetMetadata().GetName(), enumName(r.GetProvider().Descriptor(), r.GetProvider().Number()), r.GetBaseUrl(), models,
		strings.Join(r.GetGroups(), ","), strconv.Itoa(int(r.GetPriority())), strconv.Itoa(int(r.GetWeight())), state(r.GetDisabled()),
	}
}

func state(disabled bool) string {
	if disabled {
		return "disabled"
	}
	return "enabled"
}

func channelFields(fs *pflag.FlagSet) fieldReader {
	var (
		provider, baseURL, priceRatio string
		models, groups                []string
		mapping, headers, labels      map[string]string
		priority                      int32
		weight                        uint32
		disabled                      bool
		dial, tls, firstByte, idle    time.Duration
	)
	fs.StringVar(&provider, "provider", "", "whose API it speaks: openai")
	fs.StringVar(&baseURL, "base-url", "", "such as https://api.openai.com, with or without /v1")
	fs.StringSliceVar(&models, "models", nil, "models that clients may ask for here")
	fs.StringSliceVar(&groups, "group", nil, "groups that may use it (default: default)")
	fs.Int32Var(&priority, "priority", 0, "higher ones serve first")
	fs.Uint32Var(&weight, "weight", 0, "share among channels of one priority (default 100)")
	fs.StringToStringVar(&mapping, "model-map", nil, "client's name=upstream's name")
	fs.StringToStringVar(&headers, "header", nil, "name=value to set on upstream requests")
	fs.StringToStringVar(&labels, "label", nil, "name=value")
	fs.StringVar(&priceRatio, "price-ratio", "", "what a price unit costs here, such as 1.25")
	fs.BoolVar(&disabled, "disabled", false, "serve nothing")
	fs.DurationVar(&dial, "dial-timeout", 0, "TCP connection (default 10s)")
	fs.DurationVar(&tls, "tls-timeout", 0, "TLS handshake (default 10s)")
	fs.DurationVar(&firstByte, "first-byte-timeout", 0, "from request to the response's first byte (default 5m)")
	fs.DurationVar(&idle, "idle-timeout", 0, "between two reads of a response (default 2m)")
	return typedFields(func(r *resourcev1.Channel, c *changes) {
		c.on("provider", "provider", func() (err error) { r.Provider, err = enumFlag[resourcev1.Provider](provider); return err })
		c.on("base-url", "base_url", always(func() { r.BaseUrl = baseURL }))
		c.on("models", "models", always(func() { r.Models = models }))
		c.on("group", "groups", always(func() { r.Groups = groups }))
		c.on("priority", "priority", always(func() { r.Priority = priority }))
		c.on("weight", "weight", always(func() { r.Weight = weight }))
		c.on("model-map", "model_mapping", always(func() { r.ModelMapping = mapping }))
		c.on("header", "headers", always(func() { r.Headers = headers }))
		c.on("label", "metadata.labels", always(func() { r.Metadata.Labels = labels }))
		c.on("price-ratio", "price_ratio_ppm", func() (err error) { r.PriceRatioPpm, err = ratio(priceRatio); return err })
		c.on("disabled", "disabled", always(func() { r.Disabled = disabled }))
		timeouts := &resourcev1.Timeouts{}
		c.on("dial-timeout", "timeouts.dial", always(func() { r.Timeouts = timeouts; timeouts.Dial = optionalDuration(dial) }))
		c.on("tls-timeout", "timeouts.tls", always(func() { r.Timeouts = timeouts; timeouts.Tls = optionalDuration(tls) }))
		c.on("first-byte-timeout", "timeouts.first_byte", always(func() { r.Timeouts = timeouts; timeouts.FirstByte = optionalDuration(firstByte) }))
		c.on("idle-timeout", "timeouts.idle", always(func() { r.Timeouts = timeouts; timeouts.Idle = optionalDuration(idle) }))
	})
}

// createChannelCommand creates a channel with its first account, which has the channel's name.
func createChannelCommand(s *session, k kind) *cobra.Command {
	c := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a channel and its first account",
		Long: `Create a channel and its first account, which gets the channel's name.
A group that does not exist yet is created with it.`,
		Example: k.example,
		Args:    cobra.ExactArgs(1),
	}
	read := k.fields(c.Flags())
	var src secretSource
	var bare bool
	src.bind(c.Flags(), "the upstream credential")
	c.Flags().BoolVar(&bare, "no-account", false, "create no account; add some with fairway account create")
	s.bindWait(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		r := &resourcev1.Channel{Metadata: &resourcev1.Metadata{Name: args[0]}}
		if _, err := read(r, cmd.Flags()); err != nil {
			return err
		}
		req := &adminv1.CreateChannelRequest{Channel: r}
		switch {
		case bare && src.given():
			return errors.New("--no-account takes no secret")
		case !bare && !src.given():
			return errors.New("give the upstream credential with --secret-file, --secret-env or --secret-stdin (or --no-account)")
		case !bare:
			sec, err := src.read(s)
			if err != nil {
				return err
			}
			req.Accounts = []*resourcev1.Account{{Metadata: &resourcev1.Metadata{Name: args[0]}, Secret: sec}}
		}
		return s.call(cmd, func(ctx context.Context, c *clients) error {
			fresh, err := ensureGroups(ctx, c, r.GetGroups())
			if err != nil {
				return err
			}
			got, err := c.channels.CreateChannel(ctx, req)
			if err != nil {
				// Nothing is left of a create that failed.
				for _, g := range fresh {
					_, undo := c.groups.DeleteGroup(ctx, &adminv1.DeleteGroupRequest{Name: g.GetMetadata().GetName(), Etag: g.GetMetadata().GetEtag()})
					err = errors.Join(err, undo)
				}
				return err
			}
			for _, g := range fresh {
				fmt.Fprintf(s.o.Err, "group %s created\n", g.GetMetadata().GetName())
			}
			return s.created(ctx, c, k, created{resource: got.GetChannel(), revision: got.GetRevision()})
		})
	}
	return c
}

// ensureGroups creates the groups that do not exist yet, and returns those.
func ensureGroups(ctx context.Context, c *clients, names []string) ([]*resourcev1.Group, error) {
	var fresh []*resourcev1.Group
	for _, name := range names {
		_, err := c.groups.GetGroup(ctx, &adminv1.GetGroupRequest{Name: name})
		if err == nil {
			continue
		}
		if !isNotFound(err) {
			return fresh, err
		}
		made, err := c.groups.CreateGroup(ctx, &adminv1.CreateGroupRequest{
			Group: &resourcev1.Group{Metadata: &resourcev1.Metadata{Name: name}}})
		if isExists(err) {
			continue
		}
		if err != nil {
			return fresh, err
		}
		fresh = append(fresh, made.GetGroup())
	}
	return fresh, nil
}
