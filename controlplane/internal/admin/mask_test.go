package admin

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"fairway/controlplane/internal/model"
	"fairway/pkg/fault"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

func protoTypes() *protoregistry.Types { return protoregistry.GlobalTypes }

func mask(paths ...string) *fieldmaskpb.FieldMask { return &fieldmaskpb.FieldMask{Paths: paths} }

func text[R proto.Message](t *testing.T, zero R, s string) R {
	t.Helper()
	if err := prototext.Unmarshal([]byte(s), zero); err != nil {
		t.Fatalf("test data: %v", err)
	}
	return zero
}

func TestMerge(t *testing.T) {
	account := `metadata {id:"i" name:"a" etag:"7" labels {key:"k" value:"v"}} channel:"c" weight:5 organization:"o"
		secret {fingerprint:"f" sealed {key_id:"d" ciphertext:"x"}}`
	tests := []struct {
		name   string
		in     string
		paths  []string
		want   string // account, after
		change []string
	}{
		{
			name: "one field", in: `weight:9 organization:"other"`, paths: []string{"weight"},
			want: strings.Replace(account, "weight:5", "weight:9", 1), change: []string{"weight"},
		},
		{
			name: "a named field that is absent is cleared", paths: []string{"organization"},
			want: strings.Replace(account, `organization:"o"`, "", 1), change: []string{"organization"},
		},
		{
			name: "everything", in: `metadata {labels {key:"n" value:"w"}} weight:9`, paths: []string{"*"},
			want: `metadata {id:"i" name:"a" etag:"7" labels {key:"n" value:"w"}} channel:"c" weight:9
				secret {fingerprint:"f" sealed {key_id:"d" ciphertext:"x"}}`,
			change: []string{"metadata.labels", "weight", "organization"},
		},
		{
			name: "an empty mask is everything, and a secret that was read and sent back stays",
			in:   `metadata {labels {key:"k" value:"v"}} weight:5 organization:"o" secret {fingerprint:"f"}`,
			want: account,
		},
		{
			name: "output only is ignored when everything is named",
			in: `metadata {id:"evil" name:"evil" etag:"7" labels {key:"k" value:"v"} create_time {seconds:1}} channel:"evil"
				weight:5 organization:"o" secret {fingerprint:"evil" sealed {key_id:"evil"}}`,
			want: account,
		},
		{
			name: "labels are replaced as a whole", in: `metadata {labels {key:"n" value:"w"}}`, paths: []string{"metadata.labels"},
			want: strings.Replace(account, `key:"k" value:"v"`, `key:"n" value:"w"`, 1), change: []string{"metadata.labels"},
		},
		{
			name: "metadata means what of it may change", in: `metadata {id:"evil"}`, paths: []string{"metadata"},
			want: strings.Replace(account, `labels {key:"k" value:"v"}`, "", 1), change: []string{"metadata.labels"},
		},
		{
			name: "a secret by name", in: `secret {value:"s"}`, paths: []string{"secret"},
			want: strings.Replace(account, `secret {`, `secret {value:"s" `, 1), change: []string{"secret"},
		},
		{
			name: "a secret by value", in: `secret {value:"s"}`, paths: []string{"secret.value"},
			want: strings.Replace(account, `secret {`, `secret {value:"s" `, 1), change: []string{"secret"},
		},
		{
			name: "a secret that is named and absent goes", paths: []string{"secret"},
			want:   `metadata {id:"i" name:"a" etag:"7" labels {key:"k" value:"v"}} channel:"c" weight:5 organization:"o" secret {}`,
			change: []string{"secret"},
		},
		{
			name: "an absent secret that is named and absent stays absent", paths: []string{"proxy_secret"}, want: account,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := text(t, &resourcev1.Account{}, account)
			in := text(t, &resourcev1.Account{}, tt.in)
			fields, err := assignments(before.ProtoReflect().Descriptor(), mask(tt.paths...))
			if err != nil {
				t.Fatalf("assignments: %v", err)
			}
			received(in)
			after, err := merge(before, in, fields)
			if err != nil {
				t.Fatalf("merge: %v", err)
			}
			if diff := cmp.Diff(text(t, &resourcev1.Account{}, tt.want), after, protocmp.Transform()); diff != "" {
				t.Errorf("after (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.change, changed(before.ProtoReflect(), after.ProtoReflect())); diff != "" {
				t.Errorf("changed (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(text(t, &resourcev1.Account{}, account), before, protocmp.Transform()); diff != "" {
				t.Errorf("merge wrote into what it read (-was +is):\n%s", diff)
			}
		})
	}
}

func TestMergeNested(t *testing.T) {
	before := text(t, &resourcev1.Channel{}, `metadata {name:"c"} timeouts {dial {seconds:1} idle {seconds:2}}`)
	in := text(t, &resourcev1.Channel{}, `timeouts {dial {seconds:9} tls {seconds:9}}`)
	for paths, want := range map[string]string{
		"timeouts.dial":               `metadata {name:"c"} timeouts {dial {seconds:9} idle {seconds:2}}`,
		"timeouts.idle":               `metadata {name:"c"} timeouts {dial {seconds:1}}`,
		"timeouts":                    `metadata {name:"c"} timeouts {dial {seconds:9} tls {seconds:9}}`,
		"timeouts.dial,timeouts.idle": `metadata {name:"c"} timeouts {dial {seconds:9}}`,
	} {
		fields, err := assignments(before.ProtoReflect().Descriptor(), mask(strings.Split(paths, ",")...))
		if err != nil {
			t.Fatalf("%s: %v", paths, err)
		}
		after, err := merge(before, in, fields)
		if err != nil {
			t.Fatalf("%s: %v", paths, err)
		}
		if diff := cmp.Diff(text(t, &resourcev1.Channel{}, want), after, protocmp.Transform()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", paths, diff)
		}
	}
}

func TestMaskRefuses(t *testing.T) {
	many := make([]string, maxPaths+1)
	for i := range many {
		many[i] = "weight"
	}
	tests := []struct {
		kind  model.Kind
		paths []string
		name  string // must be in the message
	}{
		{model.KindAccount, []string{"wieght"}, `"wieght"`},
		{model.KindAccount, []string{"weight", ""}, `""`},
		{model.KindAccount, []string{"metadata.id"}, `"metadata.id"`},
		{model.KindAccount, []string{"metadata.name"}, `"metadata.name"`},
		{model.KindAccount, []string{"metadata.etag"}, `"metadata.etag"`},
		{model.KindAccount, []string{"metadata.create_time"}, `"metadata.create_time"`},
		{model.KindAccount, []string{"metadata.update_time"}, `"metadata.update_time"`},
		{model.KindAccount, []string{"metadata.update_time.seconds"}, `"metadata.update_time.seconds"`},
		{model.KindAccount, []string{"metadata.labels.k"}, `"metadata.labels.k"`},
		{model.KindAccount, []string{"channel"}, `"channel"`},
		{model.KindAccount, []string{"secret.sealed"}, `"secret.sealed"`},
		{model.KindAccount, []string{"secret.sealed.ciphertext"}, `"secret.sealed.ciphertext"`},
		{model.KindAccount, []string{"secret.fingerprint"}, `"secret.fingerprint"`},
		{model.KindAccount, []string{"proxy_secret.sealed"}, `"proxy_secret.sealed"`},
		{model.KindAccount, []string{"*", "weight"}, `"*"`},
		{model.KindAccount, []string{"weight.x"}, `"weight.x"`},
		{model.KindAccount, many, "100"},
		{model.KindKey, []string{"mac"}, `"mac"`},
		{model.KindKey, []string{"expire_time.seconds"}, `"expire_time.seconds"`},
		{model.KindKey, []string{"models.0"}, `"models.0"`},
		{model.KindOperator, []string{"token_hash"}, `"token_hash"`},
		{model.KindChannel, []string{"baseUrl"}, `"baseUrl"`},
		{model.KindChannel, []string{"timeouts.dial.seconds"}, `"timeouts.dial.seconds"`},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.kind, tt.paths[0]), func(t *testing.T) {
			_, err := assignments(model.Zero(tt.kind).ProtoReflect().Descriptor(), mask(tt.paths...))
			if fault.KindOf(err) != fault.Invalid {
				t.Fatalf("error = %v, want Invalid", err)
			}
			if !strings.Contains(fault.Public(err), tt.name) {
				t.Errorf("%q does not name the path %s", fault.Public(err), tt.name)
			}
		})
	}
}

// FuzzMask holds the resolver to its property: whatever path it accepts, applying it changes no field that is not the
// caller's to change.
func FuzzMask(f *testing.F) {
	for _, seed := range []string{"weight", "metadata.labels", "metadata", "secret", "*", "", "timeouts.dial", "secret.sealed", "a..b", "."} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		for _, k := range model.Kinds() {
			before, in := model.Zero(k), model.Zero(k)
			plant(before.ProtoReflect(), 4, "old", "old")
			plant(in.ProtoReflect(), 4, "new", "new")
			fields, err := assignments(before.ProtoReflect().Descriptor(), mask(path))
			if err != nil {
				if fault.KindOf(err) != fault.Invalid {
					t.Fatalf("%q: %v", path, err)
				}
				continue
			}
			received(in)
			after, err := merge(before, in, fields)
			if err != nil {
				t.Fatal(err)
			}
			holdsOld(t, path, before.ProtoReflect(), after.ProtoReflect())
		}
	})
}

func holdsOld(t *testing.T, path string, before, after protoreflect.Message) {
	t.Helper()
	for i := range after.Descriptor().Fields().Len() {
		fd := after.Descriptor().Fields().Get(i)
		switch tr := traitOf(fd); {
		case tr == plain && !leaf(fd):
			holdsOld(t, path, before.Get(fd).Message(), after.Get(fd).Message())
		case tr != plain && tr != inputOnly && !before.Get(fd).Equal(after.Get(fd)):
			if !after.Has(fd) && after.Descriptor().FullName() == secretMessage {
				continue // the secret was cleared as a whole
			}
			t.Errorf("path %q changed %s", path, fd.FullName())
		}
	}
}
