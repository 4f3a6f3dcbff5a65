package admin

import (
	linked "container/list"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/interpreter"
	"google.golang.org/protobuf/reflect/protoreflect"

	"fairway/controlplane/internal/model"
	"fairway/pkg/fault"
)

const (
	// filterCost bounds one evaluation, in CEL's own units (about one per step or per ten bytes compared).
	filterCost = 200_000
	// filterTime bounds all evaluations of one list.
	filterTime = 5 * time.Second
	// filterCache is how many compiled filters are kept.
	filterCache = 128
	// interruptEvery is after how many steps of a comprehension an evaluation looks at the clock.
	interruptEvery = 100
)

// filters compiles CEL expressions over one resource, and keeps the most recently used. It is safe for concurrent use.
type filters struct {
	envs map[model.Kind]*cel.Env

	mu       sync.Mutex
	recent   *linked.List // of *compiled, the latest first
	programs map[filterKey]*linked.Element
}

type filterKey struct {
	kind model.Kind
	text string
}

type compiled struct {
	key     filterKey
	program cel.Program
}

func newFilters() (*filters, error) {
	f := &filters{
		envs:     make(map[model.Kind]*cel.Env),
		recent:   linked.New(),
		programs: make(map[filterKey]*linked.Element),
	}
	for _, k := range model.Kinds() {
		if private(k) {
			continue
		}
		zero := model.Zero(k)
		env, err := cel.NewEnv(
			cel.CrossTypeNumericComparisons(true),
			cel.Types(zero),
			cel.Variable(string(k), cel.ObjectType(string(zero.ProtoReflect().Descriptor().FullName()))),
		)
		if err != nil {
			return nil, fmt.Errorf("environment for %s: %w", k, err)
		}
		f.envs[k] = env
	}
	return f, nil
}

// private says whether resources of a kind are nobody's to list.
func private(k model.Kind) bool { return k == model.KindCredential || k == model.KindVerdict }

// filter is a compiled filter of one list; the nil filter takes everything.
type filter struct {
	program cel.Program
	vars    map[string]any
	name    string
}

// compile returns the filter for the text; nil for the empty one.
func (f *filters) compile(kind model.Kind, text string) (*filter, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	key := filterKey{kind, text}
	program, ok := f.cached(key)
	if !ok {
		var err error
		if program, err = f.build(key); err != nil {
			return nil, err
		}
		f.keep(key, program)
	}
	return &filter{program: program, vars: make(map[string]any, 1), name: string(kind)}, nil
}

func (f *filters) cached(key filterKey) (cel.Program, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e, ok := f.programs[key]
	if !ok {
		return nil, false
	}
	f.recent.MoveToFront(e)
	c, ok := e.Value.(*compiled)
	if !ok {
		return nil, false
	}
	return c.program, true
}

func (f *filters) keep(key filterKey, program cel.Program) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.programs[key]; ok {
		return
	}
	f.programs[key] = f.recent.PushFront(&compiled{key, program})
	for f.recent.Len() > filterCache {
		if c, ok := f.recent.Remove(f.recent.Back()).(*compiled); ok {
			delete(f.programs, c.key)
		}
	}
}

func (f *filters) build(key filterKey) (cel.Program, error) {
	refuse := func(format string, args ...any) *fault.Error {
		return fault.New(fault.Invalid, "filter: "+format, args...).WithParam("filter")
	}
	env, ok := f.envs[key.kind]
	if !ok {
		return nil, refuse("%s cannot be filtered", key.kind)
	}
	checked, issues := env.Compile(key.text)
	if issues.Err() != nil {
		// The compiler speaks of the expression alone, which the caller wrote.
		var lines []string
		for _, e := range issues.Errors() {
			lines = append(lines, fmt.Sprintf("%d:%d: %s", e.Location.Line(), e.Location.Column()+1, e.Message))
		}
		return nil, refuse("%s", strings.Join(lines[:min(len(lines), 3)], "; "))
	}
	if checked.OutputType() != cel.BoolType {
		return nil, refuse("yields %s, not a bool", checked.OutputType())
	}
	if why := oracle(checked.NativeRep()); why != "" {
		return nil, refuse("%s", why)
	}
	program, err := env.Program(checked,
		cel.EvalOptions(cel.OptOptimize),
		cel.CostLimit(filterCost),
		cel.InterruptCheckFrequency(interruptEvery),
	)
	if err != nil {
		return nil, refuse("cannot be used").With(err)
	}
	return program, nil
}

// oracle says why an expression could tell something about a field that is hidden; empty when it cannot. Resources in
// memory carry MACs, hashes and sealed values: a filter that compared them would spell them out, bit by bit.
func oracle(a *ast.AST) string {
	why := ""
	ast.PostOrderVisit(a.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.SelectKind:
			sel := e.AsSelect()
			switch kindOfType(a, sel.Operand()) {
			case types.MapKind: // a label may have any name
			case types.StructKind:
				if hiddenName(sel.FieldName()) {
					why = "the field " + sel.FieldName() + " cannot be filtered by"
				}
			default:
				why = untyped
			}
		case ast.CallKind:
			// At run time a message can be indexed by the name of a field, when the checker did not see it.
			call := e.AsCall()
			if call.FunctionName() == operators.Index {
				if k := kindOfType(a, call.Args()[0]); k != types.MapKind && k != types.ListKind {
					why = untyped
				}
			}
		case ast.StructKind:
			// Equality with a message that is built on the spot compares hidden fields too.
			why = "messages cannot be built in a filter"
		default:
		}
	}))
	return why
}

const untyped = "values without a fixed type have no fields here"

func kindOfType(a *ast.AST, e ast.Expr) types.Kind {
	if t := a.GetType(e.ID()); t != nil {
		return t.Kind()
	}
	return types.UnknownKind
}

// hiddenName says whether any resource has a hidden field of that name.
func hiddenName(name string) bool {
	for _, k := range model.Kinds() {
		if private(k) {
			continue // not to be filtered; its fields may share names with what may be
		}
		if hidesField(model.Zero(k).ProtoReflect().Descriptor(), protoreflect.Name(name)) {
			return true
		}
	}
	return false
}

func hidesField(md protoreflect.MessageDescriptor, name protoreflect.Name) bool {
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		if fd.Name() == name && traitOf(fd).hidden() {
			return true
		}
		if !leaf(fd) && hidesField(fd.Message(), name) {
			return true
		}
	}
	return false
}

// takes says whether the filter takes a resource. An expression that fails on a resource, because a label is not there
// or a division is by zero, does not take it; one that costs too much ends the list.
func (f *filter) takes(ctx context.Context, r model.Resource) (bool, error) {
	if f == nil {
		return true, nil
	}
	f.vars[f.name] = r
	v, _, err := f.program.ContextEval(ctx, f.vars)
	if err == nil {
		return v == types.True, nil
	}
	var canceled interpreter.EvalCancelledError
	if errors.As(err, &canceled) {
		if canceled.Cause == interpreter.CostLimitExceeded {
			return false, fault.New(fault.Invalid, "filter: costs too much to evaluate").WithParam("filter")
		}
		return false, tooSlow(ctx)
	}
	if ctx.Err() != nil {
		return false, tooSlow(ctx)
	}
	return false, nil
}

// tooSlow tells the list's own bound from the end of the call.
func tooSlow(ctx context.Context) error {
	if errors.Is(context.Cause(ctx), errFilterTime) {
		return fault.New(fault.Exhausted, "filter: takes longer than %s over this many resources", filterTime).WithParam("filter")
	}
	return context.Cause(ctx)
}

var errFilterTime = errors.New("the list's time is over")
