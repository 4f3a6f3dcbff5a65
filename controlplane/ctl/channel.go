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
      --models gpt-4o,gpt-4o-mini --secret-env OPENAI_API_KEY --wait
  fairway channel create claude --provider vertex --region global --models claude-sonnet-4-5 \
      --exchange google-service-account --secret-file key.json`,
		header:  []string{"name", "provider", "base url", "models", "groups", "priority", "weight", "state"},
		fresh:   func(md *resourcev1.Metadata) resource { return &resourcev1.Channel{Metadata: md} },
		row:     typedRow(channelRow),
		fields:  channelFields,
		offers:  completeChannel,
		create:  createChannelCommand,
		extra:   func(s *session, k kind) []*cobra.Command { return []*cobra.Command{testChannelCommand(s, k)} },
		cascade: true,
	}
}

func channelRow(r *resourcev1.Channel) []string {
	models := strings.Join(r.GetModels(), ",")
	if len(r.GetModels()) > 4 {
		models = fmt.Sprintf("%s … (%d)", strings.Join(r.GetModels()[:3], ","), len(r.GetModels()))
	}
	return []string{
		r.GetMetadata().GetName(), providerName(r), dash(r.GetBaseUrl()), models,
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
		total                         time.Duration

		apiVersion, region, project string
		prompt, promptFrom          string
		format, testModel           string
		parameters, changedHeaders  []string
		statuses                    map[string]string
	)
	fs.StringVar(&provider, "provider", "", "whose API it speaks: "+strings.Join(providerNames(), ", "))
	fs.StringVar(&baseURL, "base-url", "", "such as https://api.openai.com, with or without /v1 (default: the provider's own)")
	fs.StringVar(&apiVersion, "api-version", "", "of azure-openai: the dated API version, such as 2024-10-21 (default: the /openai/v1 form)")
	fs.StringVar(&region, "region", "", "of bedrock and vertex: region or location (default: as --base-url names it)")
	fs.StringVar(&project, "project", "", "of vertex: project id (default: the service account's)")
	fs.StringSliceVar(&models, "models", nil, "models that clients may ask for here")
	fs.StringSliceVar(&groups, "group", nil, "groups that may use it (default: default)")
	fs.Int32Var(&priority, "priority", 0, "higher ones serve first")
	fs.Uint32Var(&weight, "weight", 0, "share among channels of one priority (default 100)")
	fs.StringToStringVar(&mapping, "model-mapping", nil, "client's name=upstream's name; chains are followed to their end")
	fs.StringToStringVar(&mapping, "model-map", nil, "client's name=upstream's name")
	_ = fs.MarkHidden("model-map") // the name that it had before
	fs.StringToStringVar(&headers, "header", nil, "name=value to set on upstream requests")
	fs.StringArrayVar(&changedHeaders, "header-rule", nil, "change a header, in order: set:NAME=VALUE, default:NAME=VALUE (where there is none), remove:NAME; empty = no rules")
	fs.StringArrayVar(&parameters, "parameter", nil,
		"change the JSON body, in order: set:PATH=JSON, default:PATH=JSON (where there is none), remove:PATH, rename:PATH=PATH; paths have dots between names; empty = no rules")
	fs.StringVar(&prompt, "system-prompt", "", "put before the system prompt of every conversation")
	fs.StringVar(&promptFrom, "system-prompt-file", "", "file that holds it")
	fs.StringToStringVar(&statuses, "status-mapping", nil, "upstream's status=client's status, such as 529=503")
	fs.StringVar(&format, "stream-format", "", "how the upstream is asked: as-asked, always (as a stream), never")
	fs.StringVar(&testModel, "test-model", "", "what fairway channel test asks for (default: the first of --models)")
	fs.StringToStringVar(&labels, "label", nil, "name=value")
	fs.StringVar(&priceRatio, "price-ratio", "", "what a price unit costs here, such as 1.25")
	fs.BoolVar(&disabled, "disabled", false, "serve nothing")
	fs.DurationVar(&dial, "dial-timeout", 0, "TCP connection (default 10s)")
	fs.DurationVar(&tls, "tls-timeout", 0, "TLS handshake (default 10s)")
	fs.DurationVar(&firstByte, "first-byte-timeout", 0, "from request to the response's first byte (default 5m)")
	fs.DurationVar(&idle, "idle-timeout", 0, "between two reads of a response (default 2m)")
	fs.DurationVar(&total, "total-timeout", 0, "from request to the response's last byte (default none)")
	return typedFields(func(r *resourcev1.Channel, c *changes) {
		// A preset is one of a provider's: whoever names the one names the other.
		c.on("provider", "provider", func() (err error) { r.Provider, r.Preset, err = providerFlag(provider); return err })
		c.on("provider", "preset", always(func() {}))
		c.on("api-version", "api_version", always(func() { r.ApiVersion = apiVersion }))
		c.on("region", "region", always(func() { r.Region = region }))
		c.on("project", "project", always(func() { r.Project = project }))
		c.on("base-url", "base_url", always(func() { r.BaseUrl = baseURL }))
		c.on("models", "models", always(func() { r.Models = models }))
		c.on("group", "groups", always(func() { r.Groups = groups }))
		c.on("priority", "priority", always(func() { r.Priority = priority }))
		c.on("weight", "weight", always(func() { r.Weight = weight }))
		c.on("model-mapping", "model_mapping", always(func() { r.ModelMapping = mapping }))
		c.on("model-map", "model_mapping", always(func() { r.ModelMapping = mapping }))
		c.on("header", "headers", always(func() { r.Headers = headers }))
		c.on("header-rule", "header_rules", func() (err error) { r.HeaderRules, err = headerRules(changedHeaders); return err })
		c.on("parameter", "parameters", func() (err error) { r.Parameters, err = parameterRules(parameters); return err })
		c.on("system-prompt", "system_prompt", always(func() { r.SystemPrompt = prompt }))
		c.on("system-prompt-file", "system_prompt", func() (err error) {
			if fs.Changed("system-prompt") {
				return errors.New("give the prompt or its file, not both")
			}
			r.SystemPrompt, err = promptFile(promptFrom)
			return err
		})
		c.on("status-mapping", "status_mapping", func() (err error) { r.StatusMapping, err = statusMapping(statuses); return err })
		c.on("stream-format", "stream_format", func() (err error) { r.StreamFormat, err = streamFormat(format); return err })
		c.on("test-model", "test_model", always(func() { r.TestModel = testModel }))
		c.on("label", "metadata.labels", always(func() { r.Metadata.Labels = labels }))
		c.on("price-ratio", "price_ratio_ppm", func() (err error) { r.PriceRatioPpm, err = ratio(priceRatio); return err })
		c.on("disabled", "disabled", always(func() { r.Disabled = disabled }))
		timeouts := &resourcev1.Timeouts{}
		c.on("dial-timeout", "timeouts.dial", always(func() { r.Timeouts = timeouts; timeouts.Dial = optionalDuration(dial) }))
		c.on("tls-timeout", "timeouts.tls", always(func() { r.Timeouts = timeouts; timeouts.Tls = optionalDuration(tls) }))
		c.on("first-byte-timeout", "timeouts.first_byte", always(func() { r.Timeouts = timeouts; timeouts.FirstByte = optionalDuration(firstByte) }))
		c.on("idle-timeout", "timeouts.idle", always(func() { r.Timeouts = timeouts; timeouts.Idle = optionalDuration(idle) }))
		c.on("total-timeout", "timeouts.total", always(func() { r.Timeouts = timeouts; timeouts.Total = optionalDuration(total) }))
	})
}

// createChannelCommand creates a channel with its first account, which has the channel's name.
func createChannelCommand(s *session, k kind) *cobra.Command {
	c := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a channel and its first account",
		Long: `Create a channel and its first account, which gets the channel's name.
A group that does not exist yet is created with it.

--parameter and --header-rule change what is sent, in the order in which they are given. Values of parameters are JSON, so a
text has its quotes: --parameter 'set:reasoning_effort="low"'. model and stream cannot be changed.`,
		Example: k.example,
		Args:    cobra.ExactArgs(1),
	}
	read := k.fields(c.Flags())
	credential := credentialFields(c.Flags())
	completeChannel(s, c)
	completeAccount(s, c)
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
			account := &resourcev1.Account{Metadata: &resourcev1.Metadata{Name: args[0]}, Secret: sec}
			fields := &changes{fs: cmd.Flags()}
			if credential(account, fields); fields.err != nil {
				return fields.err
			}
			req.Accounts = []*resourcev1.Account{account}
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
