package ctl

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/protobuf/proto"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// resource is what every stored resource is to the command line.
type resource interface {
	proto.Message
	GetMetadata() *resourcev1.Metadata
}

// kind describes one kind of resource: its words, its flags and its table. The verbs are written once, over it.
type kind struct {
	name  string
	title string
	short string
	// example is the help text's example of create.
	example string
	header  []string
	fresh   func(md *resourcev1.Metadata) resource
	row     func(r resource) []string
	// fields binds the flags of create and update; the returned function writes what was given into r and names the
	// paths that changed.
	fields func(fs *pflag.FlagSet) fieldReader
	// offers registers the completions of those flags; nil = none.
	offers func(s *session, c *cobra.Command)
	// secrets binds the flags of create and update that say where secrets are; nil = none.
	secrets func(s *session, fs *pflag.FlagSet) fieldReader
	// create overrides the plain create command; nil = the plain one.
	create func(s *session, k kind) *cobra.Command
	// list overrides the plain list command; nil = the plain one.
	list func(s *session, k kind) *cobra.Command
	// further binds the flags that only create has; the returned function writes what they say into r. nil = none.
	further func(s *session, c *cobra.Command) func(r resource) error
	// extra are the verbs of this kind alone; nil = none.
	extra func(s *session, k kind) []*cobra.Command
	// cascade says that delete can take what depends on the resource along.
	cascade bool
}

type fieldReader func(r resource, fs *pflag.FlagSet) (paths []string, err error)

// kinds in the order in which they can be created: what is referred to comes first.
func kinds() []kind {
	return []kind{groups(), tenants(), models(), channels(), accounts(), keys(), operators(), notifiers()}
}

func kindNames() []string {
	var names []string
	for _, k := range kinds() {
		names = append(names, k.name)
	}
	return names
}

// typed lets a kind's functions take their own resource type.
func typedRow[T resource](row func(T) []string) func(resource) []string {
	return func(r resource) []string { return row(r.(T)) }
}

func typedFields[T resource](read func(r T, c *changes)) fieldReader {
	return func(r resource, fs *pflag.FlagSet) ([]string, error) {
		c := &changes{fs: fs}
		read(r.(T), c)
		return c.paths, c.err
	}
}

// resourceCommand builds `fairway <kind> create|get|list|update|delete`.
func resourceCommand(s *session, k kind) *cobra.Command {
	c := &cobra.Command{Use: k.name, Short: k.short, Args: cobra.NoArgs, RunE: showHelp}
	create := createCommand
	if k.create != nil {
		create = k.create
	}
	list := listCommand
	if k.list != nil {
		list = k.list
	}
	c.AddCommand(create(s, k), getOneCommand(s, k), list(s, k), updateCommand(s, k), deleteCommand(s, k))
	if k.extra != nil {
		c.AddCommand(k.extra(s, k)...)
	}
	return c
}

// showHelp is what a command that only groups others does.
func showHelp(c *cobra.Command, _ []string) error { return c.Help() }

func createCommand(s *session, k kind) *cobra.Command {
	c := &cobra.Command{
		Use:     "create NAME",
		Short:   "Create " + k.article(),
		Example: k.example,
		Args:    cobra.ExactArgs(1),
	}
	read := s.bindFields(k, c)
	further := func(resource) error { return nil }
	if k.further != nil {
		further = k.further(s, c)
	}
	s.bindWait(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		r := k.fresh(&resourcev1.Metadata{Name: args[0]})
		if _, err := read(r, cmd.Flags()); err != nil {
			return err
		}
		if err := further(r); err != nil {
			return err
		}
		if err := freshBudgets(r); err != nil {
			return err
		}
		return s.call(cmd, func(ctx context.Context, c *clients) error {
			made, err := c.service(k).create(ctx, r)
			if err != nil {
				return err
			}
			return s.created(ctx, c, k, made)
		})
	}
	return c
}

// created answers a create and waits if told to. A secret is part of the answer, because it is shown only now.
func (s *session) created(ctx context.Context, c *clients, k kind, made created) error {
	name := made.resource.GetMetadata().GetName()
	plain := map[string]any{"name": name, k.name: toPlain(made.resource, false), "revision": made.revision}
	if made.secretName != "" {
		plain[made.secretName] = made.secret
	}
	err := s.emit(plain, func(w io.Writer) {
		fmt.Fprintf(w, "%s %s created\n", k.name, name)
		if made.secretName != "" {
			fmt.Fprintf(w, "%s: %s\n", made.secretName, made.secret)
			fmt.Fprintln(s.o.Err, "It is shown this once; keep it safe.")
		}
	})
	if err != nil {
		return err
	}
	return s.await(ctx, c, made.revision)
}

func getOneCommand(s *session, k kind) *cobra.Command {
	return &cobra.Command{
		Use:               "get NAME",
		Short:             "Show " + k.article() + ", by name or id",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeNames(s, k),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.call(cmd, func(ctx context.Context, c *clients) error {
				r, err := c.service(k).get(ctx, args[0])
				if err != nil {
					return err
				}
				return s.emit(toPlain(r, false), func(w io.Writer) { grid(w, k.header, [][]string{k.row(r)}) })
			})
		},
	}
}

func listCommand(s *session, k kind) *cobra.Command {
	var q listQuery
	var limit int
	c := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List " + k.name + "s",
		Example: fmt.Sprintf("  fairway %s list --filter '%s.metadata.name.startsWith(\"a\")' --order-by 'metadata.create_time desc'", k.name, k.name),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.call(cmd, func(ctx context.Context, c *clients) error {
				items, err := collect(ctx, c.service(k), q, limit)
				if err != nil {
					return err
				}
				plain := make([]any, 0, len(items))
				rows := make([][]string, 0, len(items))
				for _, r := range items {
					plain = append(plain, toPlain(r, false))
					rows = append(rows, k.row(r))
				}
				return s.emit(plain, func(w io.Writer) { grid(w, k.header, rows) })
			})
		},
	}
	c.Flags().StringVar(&q.filter, "filter", "", "CEL expression over "+k.name+" that yields true for what to show")
	c.Flags().StringVar(&q.orderBy, "order-by", "", `field path, optionally with " desc"`)
	c.Flags().IntVar(&limit, "limit", 0, "show at most this many; 0 = all")
	return c
}

// collect reads all pages, or as many as the limit wants. 0 = no limit.
func collect(ctx context.Context, v service, q listQuery, limit int) ([]resource, error) {
	var items []resource
	for {
		q.pageSize = 1000
		if limit > 0 {
			q.pageSize = int32(min(1000, limit-len(items)))
		}
		p, err := v.list(ctx, q)
		if err != nil {
			return nil, err
		}
		items = append(items, p.items...)
		if p.next == "" || limit > 0 && len(items) >= limit {
			return items, nil
		}
		q.pageToken = p.next
	}
}

func updateCommand(s *session, k kind) *cobra.Command {
	var etag string
	c := &cobra.Command{
		Use:               "update NAME",
		Short:             "Change the given fields of " + k.article(),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeNames(s, k),
	}
	read := s.bindFields(k, c)
	c.Flags().StringVar(&etag, "etag", "", "change only if this is still its etag")
	s.bindWait(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		r := k.fresh(&resourcev1.Metadata{Name: args[0], Etag: etag})
		paths, err := read(r, cmd.Flags())
		if err != nil {
			return err
		}
		if len(paths) == 0 {
			return fmt.Errorf("nothing to change: give at least one field, see fairway %s update --help", k.name)
		}
		return s.call(cmd, func(ctx context.Context, c *clients) error {
			got, revision, err := changed(ctx, c.service(k), r, paths)
			if err != nil {
				return err
			}
			return s.updated(ctx, c, k, got, revision, paths)
		})
	}
	return c
}

// bindFields binds the flags that create and update have alike.
func (s *session) bindFields(k kind, c *cobra.Command) fieldReader {
	fields := k.fields(c.Flags())
	secrets := func(resource, *pflag.FlagSet) ([]string, error) { return nil, nil }
	if k.secrets != nil {
		secrets = k.secrets(s, c.Flags())
	}
	if k.offers != nil {
		k.offers(s, c)
	}
	return func(r resource, fs *pflag.FlagSet) ([]string, error) {
		paths, err := fields(r, fs)
		if err != nil {
			return nil, err
		}
		more, err := secrets(r, fs)
		return append(paths, more...), err
	}
}

// changed sends an update. Budgets are one field, of which flags name parts.
func changed(ctx context.Context, v service, r resource, paths []string) (resource, int64, error) {
	if l, ok := r.(limited); ok && slices.Contains(paths, budgetsPath) {
		return updateWithBudgets(ctx, v, l, paths)
	}
	return v.update(ctx, r, paths)
}

// updated answers an update and waits if told to.
func (s *session) updated(ctx context.Context, c *clients, k kind, r resource, revision int64, paths []string) error {
	name := r.GetMetadata().GetName()
	plain := map[string]any{"name": name, k.name: toPlain(r, false), "revision": revision}
	if err := s.emit(plain, func(w io.Writer) {
		fmt.Fprintf(w, "%s %s updated: %s\n", k.name, name, strings.Join(paths, ", "))
	}); err != nil {
		return err
	}
	return s.await(ctx, c, revision)
}

func deleteCommand(s *session, k kind) *cobra.Command {
	var etag string
	var cascade bool
	c := &cobra.Command{
		Use:               "delete NAME",
		Aliases:           []string{"rm"},
		Short:             "Delete " + k.article(),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeNames(s, k),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.call(cmd, func(ctx context.Context, c *clients) error {
				revision, err := c.service(k).remove(ctx, args[0], etag, cascade)
				if k.cascade && !cascade && isStale(err) && etag == "" {
					return fmt.Errorf("%w; --cascade deletes what belongs to it too", plain(err))
				}
				if err != nil {
					return err
				}
				if err := s.emit(map[string]any{"name": args[0], "revision": revision}, func(w io.Writer) {
					fmt.Fprintf(w, "%s %s deleted\n", k.name, args[0])
				}); err != nil {
					return err
				}
				return s.await(ctx, c, revision)
			})
		},
	}
	c.Flags().StringVar(&etag, "etag", "", "delete only if this is still its etag")
	if k.cascade {
		c.Flags().BoolVar(&cascade, "cascade", false, "delete what belongs to it too")
	}
	s.bindWait(c)
	return c
}

// article is the kind's name with "a" or "an".
func (k kind) article() string {
	if strings.ContainsRune("aeiou", rune(k.name[0])) {
		return "an " + k.name
	}
	return "a " + k.name
}

// completeNames offers the names that exist, when a server can be asked, for the one argument.
func completeNames(s *session, k kind) cobra.CompletionFunc {
	all := completeMore(s, k)
	return func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return all(cmd, nil, prefix)
	}
}

// completeName offers the names that exist as the value of a flag, whatever the arguments are.
func completeName(s *session, k kind) cobra.CompletionFunc {
	all := completeMore(s, k)
	return func(cmd *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
		return all(cmd, nil, prefix)
	}
}

// completeList offers the names that exist and are not in a list yet that has commas between them.
func completeList(s *session, k kind) cobra.CompletionFunc {
	all := completeMore(s, k)
	return func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		cut := strings.LastIndexByte(typed, ',') + 1
		names, directive := all(cmd, strings.Split(typed[:cut], ","), typed[cut:])
		for i := range names {
			names[i] = typed[:cut] + names[i]
		}
		return names, directive | cobra.ShellCompDirectiveNoSpace
	}
}

// completeMore offers the names that exist and are not among the arguments yet.
func completeMore(s *session, k kind) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
		var names []string
		err := s.call(cmd, func(ctx context.Context, c *clients) error {
			q := listQuery{filter: fmt.Sprintf("%s.metadata.name.startsWith(%q)", k.name, prefix)}
			items, err := collect(ctx, c.service(k), q, 200)
			for _, r := range items {
				if name := r.GetMetadata().GetName(); !slices.Contains(args, name) {
					names = append(names, name)
				}
			}
			return err
		})
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
