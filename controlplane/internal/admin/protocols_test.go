package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// One port speaks all of gRPC, gRPC-Web and connect, in protobuf and JSON; errors keep code, text and details in each.
func TestProtocols(t *testing.T) {
	w := newWorld(t)
	for name, options := range map[string][]connecthttp.Option{
		"connect":      nil,
		"connect-json": {connecthttp.WithProtoJSON()},
		"connect-get":  {connecthttp.WithHTTPGet()},
		"grpc":         {connecthttp.WithGRPC()},
		"grpc-json":    {connecthttp.WithGRPC(), connecthttp.WithProtoJSON()},
		"grpcweb":      {connecthttp.WithGRPCWeb()},
	} {
		t.Run(name, func(t *testing.T) {
			c := w.as(w.owner, options...)
			created, err := c.groups.CreateGroup(t.Context(), &adminv1.CreateGroupRequest{Group: &resourcev1.Group{Metadata: named(name)}})
			if err != nil {
				t.Fatalf("create: %v", err)
			}
			got, err := c.groups.GetGroup(t.Context(), &adminv1.GetGroupRequest{Name: created.GetGroup().GetMetadata().GetId()})
			if err != nil || got.GetGroup().GetMetadata().GetName() != name {
				t.Fatalf("get by id = %v, %v", got, err)
			}
			listed, err := c.groups.ListGroups(t.Context(), &adminv1.ListGroupsRequest{Filter: `group.metadata.name == "` + name + `"`})
			if err != nil || len(listed.GetGroups()) != 1 || listed.GetTotalSize() != 1 {
				t.Fatalf("list = %v, %v", listed, err)
			}
			ctx, info := connect.NewClientContext(t.Context())
			_, err = c.groups.UpdateGroup(ctx, &adminv1.UpdateGroupRequest{
				Group:      &resourcev1.Group{Metadata: &resourcev1.Metadata{Name: name, Etag: "1"}, Description: "x"},
				UpdateMask: mask("description"),
			})
			etag := got.GetGroup().GetMetadata().GetEtag()
			if m := wantCode(t, err, connect.CodeFailedPrecondition); !strings.Contains(m, `"`+etag+`"`) {
				t.Errorf("%q does not name the current etag %s", m, etag)
			}
			if current := currentEtag(t, err); current != etag {
				t.Errorf("detail says %q, want %q", current, etag)
			}
			if info.ResponseHeader().Get("x-request-id") == "" {
				t.Error("an error came without a request id")
			}
			_, err = w.as("", options...).groups.ListGroups(t.Context(), &adminv1.ListGroupsRequest{})
			wantCode(t, err, connect.CodeUnauthenticated)
		})
	}
}

// What curl and a person see.
func TestCurl(t *testing.T) {
	w := newWorld(t)
	status, header, body := w.post(w.owner, "/fairway.admin.v1.KeyService/CreateKey", `{"key":{"metadata":{"name":"k1"}}}`)
	var created struct {
		Key      struct{ Group, Mac string }
		Secret   string
		Revision string
	}
	if err := json.Unmarshal([]byte(body), &created); err != nil || status != http.StatusOK {
		t.Fatalf("status %d: %s (%v)", status, body, err)
	}
	if !strings.HasPrefix(created.Secret, "sk-fw-") || created.Key.Group != "default" || created.Revision == "" || created.Key.Mac != "" {
		t.Errorf("CreateKey answered %s", body)
	}
	if header.Get("Content-Type") != "application/json" || header.Get("x-request-id") == "" {
		t.Errorf("headers: %v", header)
	}
	for _, tt := range []struct {
		name, procedure, body string
		status                int
		want                  string
	}{
		{"a field that is misspelt", "CreateKey", `{"key":{"metadata":{"name":"k2"},"disabledd":true}}`, 400, "no field disabledd"},
		{"a value of the wrong type", "CreateKey", `{"key":{"metadata":{"name":"k2"},"disabled":"yes"}}`, 400, "line 1:"},
		{"no JSON", "CreateKey", `{`, 400, "the request is not a CreateKeyRequest"},
		{"a broken rule", "CreateKey", `{"key":{"metadata":{"name":"-k"}}}`, 400, "key.metadata.name"},
		{"several broken rules", "ListKeys", `{"pageSize":-1,"orderBy":"A"}`, 400, "page_size"},
		{"a name that is taken", "CreateKey", `{"key":{"metadata":{"name":"k1"}}}`, 409, "exists already"},
		{"nothing there", "GetKey", `{"name":"nobody"}`, 404, `there is no key \"nobody\"`},
		{"a reference to nothing", "CreateKey", `{"key":{"metadata":{"name":"k2"},"group":"none"}}`, 400, `there is no group \"none\"`},
		{"a mask that names nothing", "UpdateKey", `{"key":{"metadata":{"name":"k1"}},"updateMask":"nothing"}`, 400, "nothing"},
		{"a mask that names a hidden field", "UpdateKey", `{"key":{"metadata":{"name":"k1"}},"updateMask":"mac"}`, 400, `\"mac\" is output only`},
		{"no name", "UpdateKey", `{"key":{"group":"default"}}`, 400, "which key"},
		{"no key", "UpdateKey", `{}`, 400, "which key"},
		{"a page token of nobody", "ListKeys", `{"pageToken":"AAAA"}`, 400, "page_token"},
		{"a filter that does not compile", "ListKeys", `{"filter":"key.nothing"}`, 400, "filter"},
		{"too large", "ListKeys", `{"filter":"` + strings.Repeat("x", 5<<20) + `"}`, 429, "larger than"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, _, body := w.post(w.owner, "/fairway.admin.v1.KeyService/"+tt.procedure, tt.body)
			if status != tt.status || !strings.Contains(body, tt.want) {
				t.Errorf("status %d: %s; want %d with %s", status, body, tt.status, tt.want)
			}
		})
	}
	t.Run("a list by GET", func(t *testing.T) {
		q := url.Values{"connect": {"v1"}, "encoding": {"json"}, "message": {`{"pageSize":1}`}}
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+"/fairway.admin.v1.KeyService/ListKeys?"+q.Encode(), nil)
		r.Header.Set("Authorization", "Bearer "+w.owner)
		res, err := w.httpClient(false).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		if res.StatusCode != http.StatusOK {
			t.Errorf("status %d", res.StatusCode)
		}
	})
	t.Run("a write by GET", func(t *testing.T) {
		q := url.Values{"connect": {"v1"}, "encoding": {"json"}, "message": {`{"name":"k1"}`}}
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+"/fairway.admin.v1.KeyService/DeleteKey?"+q.Encode(), nil)
		r.Header.Set("Authorization", "Bearer "+w.owner)
		res, err := w.httpClient(false).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		if res.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("status %d, want 405", res.StatusCode)
		}
	})
}

func dial(t *testing.T, w *world) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(strings.TrimPrefix(w.url, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func asOperator(ctx context.Context, token string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
}

// What grpcurl does: ask reflection what there is, build the messages from its answer alone, and call. The client is
// grpc-go, which shares no code with the server.
func TestReflectionAndDynamicCall(t *testing.T) {
	w := newWorld(t)
	conn := dial(t, w)

	refused, err := grpc_reflection_v1.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	if err == nil {
		// Sent even if nobody will read it: an open server would answer instead of waiting.
		_ = refused.Send(&grpc_reflection_v1.ServerReflectionRequest{
			MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{},
		})
		_, err = refused.Recv()
	}
	if status.Code(err) != codes.Unauthenticated {
		t.Errorf("reflection without a token: %v, want Unauthenticated", err)
	}

	stream, err := grpc_reflection_v1.NewServerReflectionClient(conn).ServerReflectionInfo(asOperator(t.Context(), w.owner))
	if err != nil {
		t.Fatal(err)
	}
	ask := func(req *grpc_reflection_v1.ServerReflectionRequest) *grpc_reflection_v1.ServerReflectionResponse {
		t.Helper()
		if err := stream.Send(req); err != nil {
			t.Fatal(err)
		}
		res, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if e := res.GetErrorResponse(); e != nil {
			t.Fatalf("reflection: %v", e)
		}
		return res
	}
	var listed []string
	for _, s := range ask(&grpc_reflection_v1.ServerReflectionRequest{
		MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{},
	}).GetListServicesResponse().GetService() {
		listed = append(listed, s.GetName())
	}
	files := make(map[string]*descriptorpb.FileDescriptorProto)
	add := func(raw [][]byte) {
		for _, b := range raw {
			f := &descriptorpb.FileDescriptorProto{}
			if err := proto.Unmarshal(b, f); err != nil {
				t.Fatal(err)
			}
			files[f.GetName()] = f
		}
	}
	for _, name := range services() {
		if !slices.Contains(listed, name) {
			t.Errorf("reflection does not list %s", name)
		}
		add(ask(&grpc_reflection_v1.ServerReflectionRequest{
			MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: name},
		}).GetFileDescriptorResponse().GetFileDescriptorProto())
	}
	for missing := true; missing; { // what the files import
		missing = false
		for _, f := range files {
			for _, dep := range f.GetDependency() {
				if files[dep] == nil {
					missing = true
					add(ask(&grpc_reflection_v1.ServerReflectionRequest{
						MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_FileByFilename{FileByFilename: dep},
					}).GetFileDescriptorResponse().GetFileDescriptorProto())
				}
			}
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	set := &descriptorpb.FileDescriptorSet{}
	for _, f := range files {
		set.File = append(set.File, f)
	}
	registry, err := protodesc.NewFiles(set)
	if err != nil {
		t.Fatalf("what reflection described does not fit together: %v", err)
	}
	for _, name := range services() {
		if _, err := registry.FindDescriptorByName(protoreflect.FullName(name)); err != nil {
			t.Errorf("%s is not described: %v", name, err)
		}
	}
	callDynamic(t, conn, registry, w.owner)
}

func callDynamic(t *testing.T, conn *grpc.ClientConn, registry *protoregistry.Files, token string) {
	t.Helper()
	d, err := registry.FindDescriptorByName("fairway.admin.v1.GroupService.GetGroup")
	if err != nil {
		t.Fatal(err)
	}
	method, ok := d.(protoreflect.MethodDescriptor)
	if !ok {
		t.Fatalf("%T is no method", d)
	}
	req, res := dynamicpb.NewMessage(method.Input()), dynamicpb.NewMessage(method.Output())
	req.Set(method.Input().Fields().ByName("name"), protoreflect.ValueOfString("default"))
	var header metadata.MD
	if err := conn.Invoke(asOperator(t.Context(), token), "/fairway.admin.v1.GroupService/GetGroup", req, res, grpc.Header(&header)); err != nil {
		t.Fatalf("dynamic call: %v", err)
	}
	group := res.Get(method.Output().Fields().ByName("group")).Message()
	meta := group.Get(group.Descriptor().Fields().ByName("metadata")).Message()
	if name := meta.Get(meta.Descriptor().Fields().ByName("name")).String(); name != "default" {
		t.Errorf("dynamic call got %q", name)
	}
	if len(header.Get("x-request-id")) != 1 {
		t.Errorf("headers %v have no request id", header)
	}
}

func TestHealth(t *testing.T) {
	w := newWorld(t)
	c := grpc_health_v1.NewHealthClient(dial(t, w))
	for _, name := range append(services(), "") {
		res, err := c.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: name})
		if err != nil || res.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("%q is %v, %v; want SERVING, without a token", name, res, err)
		}
	}
	if _, err := c.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: "nothing"}); status.Code(err) != codes.NotFound {
		t.Errorf("a service that is not there: %v", err)
	}
	if _, err := c.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: strings.Repeat("x", maxProbe+1)}); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a name of %d bytes: %v", maxProbe+1, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	watch, err := c.Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []grpc_health_v1.HealthCheckResponse_ServingStatus{
		grpc_health_v1.HealthCheckResponse_SERVING, grpc_health_v1.HealthCheckResponse_NOT_SERVING,
	} {
		res, err := watch.Recv()
		if err != nil || res.GetStatus() != want {
			t.Fatalf("watch = %v, %v; want %v", res, err, want)
		}
		w.service.SetServing(false)
	}
	for _, name := range append(services(), "") {
		if res, err := c.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: name}); err != nil || res.GetStatus() != grpc_health_v1.HealthCheckResponse_NOT_SERVING {
			t.Errorf("draining, %q is %v, %v", name, res, err)
		}
	}
}
