package ctl

import (
	"context"
	"fmt"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
)

// service calls one resource's admin service. Every resource has the same five methods with the same fields (the
// contract's own rule), so they are written once, over the descriptors, and not once per kind.
type service struct {
	client *connect.Client
	// kind is the resource's name in the contract, such as "channel"; title is the same with a capital.
	kind, title string
}

// created is what a create returns; secretName and secret are set where something is shown this once.
type created struct {
	resource   resource
	revision   int64
	secretName string
	secret     string
}

type listQuery struct {
	pageSize  int32
	pageToken string
	filter    string
	orderBy   string
}

type page struct {
	items []resource
	next  string
}

func (v service) create(ctx context.Context, r resource) (created, error) {
	res, err := v.call(ctx, "Create"+v.title, func(req protoreflect.Message) { set(req, v.kind, r) })
	if err != nil {
		return created{}, err
	}
	made := created{resource: v.resource(res), revision: number(res, "revision")}
	for _, name := range []string{"secret", "token"} {
		if fd := field(res, name); fd != nil {
			made.secretName, made.secret = name, res.Get(fd).String()
		}
	}
	return made, nil
}

// get finds a resource by name or id.
func (v service) get(ctx context.Context, name string) (resource, error) {
	res, err := v.call(ctx, "Get"+v.title, func(req protoreflect.Message) { set(req, "name", name) })
	if err != nil {
		return nil, err
	}
	return v.resource(res), nil
}

func (v service) list(ctx context.Context, q listQuery) (page, error) {
	res, err := v.call(ctx, "List"+v.title+"s", func(req protoreflect.Message) {
		set(req, "page_size", q.pageSize)
		set(req, "page_token", q.pageToken)
		set(req, "filter", q.filter)
		set(req, "order_by", q.orderBy)
	})
	if err != nil {
		return page{}, err
	}
	list := res.Get(field(res, v.kind+"s")).List()
	p := page{next: res.Get(field(res, "next_page_token")).String(), items: make([]resource, 0, list.Len())}
	for i := range list.Len() {
		p.items = append(p.items, list.Get(i).Message().Interface().(resource))
	}
	return p, nil
}

func (v service) update(ctx context.Context, r resource, paths []string) (resource, int64, error) {
	res, err := v.call(ctx, "Update"+v.title, func(req protoreflect.Message) {
		set(req, v.kind, r)
		set(req, "update_mask", &fieldmaskpb.FieldMask{Paths: paths})
	})
	if err != nil {
		return nil, 0, err
	}
	return v.resource(res), number(res, "revision"), nil
}

func (v service) remove(ctx context.Context, name, etag string, cascade bool) (int64, error) {
	res, err := v.call(ctx, "Delete"+v.title, func(req protoreflect.Message) {
		set(req, "name", name)
		set(req, "etag", etag)
		if cascade {
			set(req, "cascade", true)
		}
	})
	if err != nil {
		return 0, err
	}
	return number(res, "revision"), nil
}

// call builds the method's request, lets fill write it, and returns the response.
func (v service) call(ctx context.Context, method string, fill func(req protoreflect.Message)) (protoreflect.Message, error) {
	name := protoreflect.FullName("fairway.admin.v1." + v.title + "Service")
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(name.Append(protoreflect.Name(method)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", method, err)
	}
	md := d.(protoreflect.MethodDescriptor)
	req, err := fresh(md.Input())
	if err != nil {
		return nil, err
	}
	res, err := fresh(md.Output())
	if err != nil {
		return nil, err
	}
	fill(req)
	spec := connect.Spec{
		StreamType: connect.StreamTypeUnary,
		Schema:     md,
		Procedure:  fmt.Sprintf("/%s/%s", name, method),
	}
	if err := v.client.CallUnary(ctx, spec, req.Interface(), res.Interface()); err != nil {
		return nil, err
	}
	return res, nil
}

func (v service) resource(res protoreflect.Message) resource {
	return res.Get(field(res, v.kind)).Message().Interface().(resource)
}

func fresh(d protoreflect.MessageDescriptor) (protoreflect.Message, error) {
	mt, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.FullName(), err)
	}
	return mt.New(), nil
}

func field(m protoreflect.Message, name string) protoreflect.FieldDescriptor {
	return m.Descriptor().Fields().ByTextName(name)
}

func number(m protoreflect.Message, name string) int64 { return m.Get(field(m, name)).Int() }

func set(m protoreflect.Message, name string, value any) {
	if msg, ok := value.(proto.Message); ok {
		m.Set(field(m, name), protoreflect.ValueOfMessage(msg.ProtoReflect()))
		return
	}
	m.Set(field(m, name), protoreflect.ValueOf(value))
}
