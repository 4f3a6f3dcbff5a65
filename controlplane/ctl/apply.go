package ctl

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/reflect/protoreflect"
	"sigs.k8s.io/yaml"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// The declarative form is a stream of YAML documents, one resource each: its fields in the plain form plus "kind".
// apply looks only at the fields that a document names, so it never undoes what it does not mention.

// document is one resource as a file says it.
type document struct {
	kind kind
	// paths are the fields that the document names, those of nested messages one by one: weight, timeouts.idle.
	paths []string
	r     resource
}

func applyCommand(s *session) *cobra.Command {
	var file string
	var dryRun bool
	c := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Create or change resources until they are as a file says",
		Long: `Create or change resources until they are as a file says, and print what changed.

The file holds YAML documents as fairway get -o yaml writes them. Only the fields that a document names are looked at, and
resources that the file does not mention stay. Applying the same file twice changes nothing the second time. The credential of
an account or a notifier is given as {file: PATH} or {env: VARIABLE}, and is needed only to create it.`,
		Example: "  fairway apply -f fairway.yaml --dry-run\n  fairway get -o yaml | fairway apply -f -",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			raw, err := s.readFile(file)
			if err != nil {
				return err
			}
			docs, err := s.parseDocuments(raw)
			if err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
			return s.call(cmd, func(ctx context.Context, c *clients) error { return s.apply(ctx, c, docs, dryRun) })
		},
	}
	c.Flags().StringVarP(&file, "file", "f", "", "file to apply, - for standard input")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "print what would change, and change nothing")
	_ = c.MarkFlagRequired("file")
	s.bindWait(c)
	return c
}

func (s *session) readFile(file string) ([]byte, error) {
	if file == "-" {
		return io.ReadAll(s.o.In)
	}
	return os.ReadFile(file)
}

// apply goes through the documents in an order in which references resolve, and stops at the first that fails: what
// was done until then is printed, and applying the file again goes on from there.
func (s *session) apply(ctx context.Context, c *clients, docs []document, dryRun bool) error {
	var done []any
	var newest int64
	var failed error
	for _, d := range docs {
		step, err := s.applyOne(ctx, c, d, dryRun)
		if err != nil {
			failed = fmt.Errorf("%s %s: %w", d.kind.name, d.r.GetMetadata().GetName(), plain(err))
			break
		}
		newest = max(newest, step.revision)
		done = append(done, step.plain())
		if s.output == tableFormat {
			step.print(s.o.Out)
		}
	}
	if s.output != tableFormat {
		if err := s.emit(done, nil); err != nil {
			return err
		}
	}
	return errors.Join(failed, s.await(ctx, c, newest))
}

// applied is what apply did about one document.
type applied struct {
	kind, name, action string
	dryRun             bool
	diff               []string
	secretName, secret string
	revision           int64
}

func (a applied) plain() any {
	m := map[string]any{"kind": a.kind, "name": a.name, "action": a.action}
	if a.dryRun {
		m["dry_run"] = true
	}
	if len(a.diff) > 0 {
		m["diff"] = a.diff
	}
	if a.secretName != "" {
		m[a.secretName] = a.secret
	}
	return m
}

func (a applied) print(w io.Writer) {
	action := a.action
	if a.dryRun && action != "unchanged" {
		action += " (dry run: nothing was changed)"
	}
	fmt.Fprintf(w, "%s %s %s\n", a.kind, a.name, action)
	for _, d := range a.diff {
		fmt.Fprintf(w, "  %s\n", d)
	}
	if a.secretName != "" {
		fmt.Fprintf(w, "  %s: %s (shown this once)\n", a.secretName, a.secret)
	}
}

func (s *session) applyOne(ctx context.Context, c *clients, d document, dryRun bool) (applied, error) {
	name := d.r.GetMetadata().GetName()
	out := applied{kind: d.kind.name, name: name, action: "unchanged", dryRun: dryRun}
	svc := c.service(d.kind)
	current, err := svc.get(ctx, name)
	if isNotFound(err) {
		out.action = "created"
		if dryRun {
			return out, nil
		}
		made, err := svc.create(ctx, d.r)
		out.revision, out.secretName, out.secret = made.revision, made.secretName, made.secret
		return out, err
	}
	if err != nil {
		return out, err
	}
	paths, diff := d.compare(current)
	if len(paths) == 0 {
		return out, nil
	}
	out.action, out.diff = "updated", diff
	if dryRun {
		return out, nil
	}
	// The etag makes sure that what was compared is what is changed; one that the document names is the author's own guard.
	if d.r.GetMetadata().GetEtag() == "" {
		d.r.GetMetadata().Etag = current.GetMetadata().GetEtag()
	}
	_, out.revision, err = svc.update(ctx, d.r, paths)
	return out, err
}

// compare returns the paths in which the document differs from what is stored, and a line for each.
func (d document) compare(current resource) (paths, diff []string) {
	for _, path := range d.paths {
		fd, want := at(d.r.ProtoReflect(), path)
		_, have := at(current.ProtoReflect(), path)
		if isSecret(fd) && have.Has(fd) {
			continue // nobody can tell whether it is the same one: fairway account rotate replaces it
		}
		if want.Has(fd) == have.Has(fd) && want.Get(fd).Equal(have.Get(fd)) {
			continue
		}
		paths = append(paths, path)
		diff = append(diff, fmt.Sprintf("%s: %s -> %s", path, show(fd, have), show(fd, want)))
	}
	return paths, diff
}

// at walks to the field that a path names, and the message that holds it.
func at(m protoreflect.Message, path string) (protoreflect.FieldDescriptor, protoreflect.Message) {
	head, rest, nested := strings.Cut(path, ".")
	fd := m.Descriptor().Fields().ByTextName(head)
	if !nested {
		return fd, m
	}
	return at(m.Get(fd).Message(), rest)
}

func isSecret(fd protoreflect.FieldDescriptor) bool {
	return fd.Message() != nil && fd.Message().FullName() == (*resourcev1.Secret)(nil).ProtoReflect().Descriptor().FullName()
}

func show(fd protoreflect.FieldDescriptor, m protoreflect.Message) string {
	switch {
	case !m.Has(fd):
		return "none"
	case isSecret(fd):
		return "set"
	}
	raw, err := json.Marshal(fieldToPlain(fd, m.Get(fd), false))
	if err != nil {
		return "?"
	}
	return string(raw)
}

// parseDocuments reads a stream of documents, checks them all, and sorts them so that references resolve.
func (s *session) parseDocuments(raw []byte) ([]document, error) {
	byName := map[string]kind{}
	order := map[string]int{}
	for i, k := range kinds() {
		byName[k.name], order[k.name] = k, i
	}
	var docs []document
	var bad []error
	for i, part := range splitDocuments(raw) {
		d, err := s.parseDocument(part, byName)
		if err != nil {
			bad = append(bad, fmt.Errorf("document %d: %w", i+1, err))
			continue
		}
		docs = append(docs, d)
	}
	if len(bad) > 0 {
		return nil, errors.Join(bad...)
	}
	if len(docs) == 0 {
		return nil, errors.New("there is no document in it")
	}
	slices.SortStableFunc(docs, func(a, b document) int {
		return cmp.Or(cmp.Compare(order[a.kind.name], order[b.kind.name]), cmp.Compare(a.depth(), b.depth()))
	})
	return docs, nil
}

// depth puts tenants before those that are parts of them.
func (d document) depth() int {
	if t, ok := d.r.(*resourcev1.Tenant); ok && t.GetParent() != "" {
		return 1
	}
	return 0
}

// splitDocuments cuts a YAML stream at its separator lines, takes lists apart, and drops empty documents.
func splitDocuments(raw []byte) [][]byte {
	var docs [][]byte
	var doc []byte
	flush := func() {
		var v any
		err := yaml.Unmarshal(doc, &v)
		if list, ok := v.([]any); ok && err == nil {
			// What get -o json writes: one list of all.
			for _, item := range list {
				raw, err := json.Marshal(item)
				if err == nil {
					docs = append(docs, raw)
				}
			}
		} else if err != nil || v != nil {
			docs = append(docs, doc)
		}
		doc = nil
	}
	for line := range bytes.Lines(raw) {
		if t := bytes.TrimRight(line, " \t\r\n"); bytes.Equal(t, []byte("---")) {
			flush()
			continue
		}
		doc = append(doc, line...)
	}
	flush()
	return docs
}

func (s *session) parseDocument(raw []byte, byName map[string]kind) (document, error) {
	var m map[string]any
	if err := yaml.UnmarshalStrict(raw, &m); err != nil {
		return document{}, err
	}
	word, _ := m["kind"].(string)
	k, ok := byName[word]
	if !ok {
		return document{}, fmt.Errorf("kind %q is not one of %s", word, strings.Join(kindNames(), ", "))
	}
	delete(m, "kind")
	d := document{kind: k, r: k.fresh(&resourcev1.Metadata{})}
	if err := s.resolveSecrets(d.r.ProtoReflect().Descriptor(), m); err != nil {
		return document{}, err
	}
	if err := fromPlain(m, d.r); err != nil {
		return document{}, fmt.Errorf("%s: %w", k.name, err)
	}
	if d.r.GetMetadata().GetName() == "" {
		return document{}, fmt.Errorf("%s: metadata.name is missing", k.name)
	}
	d.paths = namedPaths(d.r.ProtoReflect().Descriptor(), m)
	return d, nil
}

// namedPaths lists the fields that plain names, in order. Of metadata only labels can be changed.
func namedPaths(md protoreflect.MessageDescriptor, plain map[string]any) []string {
	var paths []string
	for _, name := range slices.Sorted(maps.Keys(plain)) {
		fd := md.Fields().ByTextName(name)
		nested, isMap := plain[name].(map[string]any)
		switch {
		case !isMap || fd.IsMap() || isSecret(fd) || fd.Message() == nil || fd.Message().ParentFile().Package() != md.ParentFile().Package():
			paths = append(paths, name)
		case name == "metadata":
			if _, ok := nested["labels"]; ok {
				paths = append(paths, "metadata.labels")
			}
		default:
			for _, sub := range namedPaths(fd.Message(), nested) {
				paths = append(paths, name+"."+sub)
			}
		}
	}
	return paths
}

// resolveSecrets replaces {file: PATH} and {env: VARIABLE}, wherever a secret is, by the one that is meant.
func (s *session) resolveSecrets(md protoreflect.MessageDescriptor, plain map[string]any) error {
	for _, name := range slices.Sorted(maps.Keys(plain)) {
		fd := md.Fields().ByTextName(name)
		nested, ok := plain[name].(map[string]any)
		if !ok || fd == nil || fd.Message() == nil || fd.IsMap() {
			continue
		}
		var err error
		if isSecret(fd) {
			plain[name], err = s.resolveSecret(nested)
		} else {
			err = s.resolveSecrets(fd.Message(), nested)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (s *session) resolveSecret(ref map[string]any) (map[string]any, error) {
	file, _ := ref["file"].(string)
	env, _ := ref["env"].(string)
	src := secretSource{file: file, env: env}
	if !src.given() {
		return ref, nil
	}
	sec, err := src.read(s)
	if err != nil {
		return nil, err
	}
	return map[string]any{"value": sec.GetValue()}, nil
}
