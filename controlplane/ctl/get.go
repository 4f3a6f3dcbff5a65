package ctl

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// getCommand writes resources in the declarative form that apply reads.
func getCommand(s *session) *cobra.Command {
	c := &cobra.Command{
		Use:   "get [KIND [NAME]]",
		Short: "All resources, or those of a kind, in the form that apply reads",
		Long: `All resources, or those of a kind, in the form that apply reads (-o yaml or json). Settings have a command of their own.

Credentials are never part of it: an account's document says nothing of its secret, nor a notifier's.`,
		Example: "  fairway get -o yaml > fairway.yaml\n  fairway get channel openai -o yaml",
		Args:    cobra.MaximumNArgs(2),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return kindNames(), cobra.ShellCompDirectiveNoFileComp
		},
	}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		wanted := kinds()
		if len(args) > 0 {
			wanted = nil
			for _, k := range kinds() {
				if k.name == args[0] || k.name+"s" == args[0] {
					wanted = append(wanted, k)
				}
			}
			if len(wanted) == 0 {
				return fmt.Errorf("there is no kind %q", args[0])
			}
		}
		return s.call(cmd, func(ctx context.Context, c *clients) error {
			var docs []any
			var rows [][]string
			for _, k := range wanted {
				items, err := s.wanted(ctx, c, k, args)
				if err != nil {
					return err
				}
				for _, r := range items {
					rows = append(rows, []string{k.name, r.GetMetadata().GetName(), when(r.GetMetadata().GetUpdateTime())})
					docs = append(docs, declare(k, r))
				}
			}
			if s.output == yamlFormat {
				return writeDocuments(s.o.Out, docs)
			}
			return s.emit(docs, func(w io.Writer) { grid(w, []string{"kind", "name", "updated"}, rows) })
		})
	}
	return c
}

func (s *session) wanted(ctx context.Context, c *clients, k kind, args []string) ([]resource, error) {
	if len(args) == 2 {
		r, err := c.service(k).get(ctx, args[1])
		return []resource{r}, err
	}
	return collect(ctx, c.service(k), listQuery{}, 0)
}

// declare strips what only the server may write, and names the kind.
func declare(k kind, r resource) map[string]any {
	md := r.GetMetadata()
	md.Id, md.Etag, md.CreateTime, md.UpdateTime = "", "", nil, nil
	m := toPlain(r, false).(map[string]any)
	delete(m, "health")
	dropSecrets(r.ProtoReflect().Descriptor(), m)
	m["kind"] = k.name
	return m
}

// dropSecrets takes out what is shown of credentials, wherever it is.
func dropSecrets(md protoreflect.MessageDescriptor, plain map[string]any) {
	for name, v := range plain {
		fd := md.Fields().ByTextName(name)
		if isSecret(fd) {
			delete(plain, name)
		} else if nested, ok := v.(map[string]any); ok && !fd.IsMap() {
			dropSecrets(fd.Message(), nested)
		}
	}
}

func writeDocuments(w io.Writer, docs []any) error {
	for i, d := range docs {
		if i > 0 {
			fmt.Fprintln(w, "---")
		}
		raw, err := encodeYAML(d)
		if err != nil {
			return fmt.Errorf("encode yaml: %w", err)
		}
		if _, err := w.Write(raw); err != nil {
			return err
		}
	}
	return nil
}
