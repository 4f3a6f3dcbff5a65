package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a running program of the bench. Whoever starts one stops it.
type process struct {
	name  string
	cmd   *exec.Cmd
	stdin io.Closer
	log   logTail
	done  chan struct{}
	err   error // why it ended; valid once done is closed
}

// logTail keeps the end of what a process writes.
type logTail struct {
	mu sync.Mutex
	b  []byte
}

func (l *logTail) Write(p []byte) (int, error) {
	const keep = 4 << 10
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b = append(l.b, p...)
	l.b = l.b[max(0, len(l.b)-keep):]
	return len(p), nil
}

func (l *logTail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.b)
}

// cleanEnv is the environment without anything of Fairway's.
func cleanEnv(extra ...string) []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "FAIRWAY_") {
			env = append(env, e)
		}
	}
	return append(env, extra...)
}

// startProcess starts a program; line, when not nil, gets the first line of its standard output.
func startProcess(name string, env []string, line *string, program string, args ...string) (*process, error) {
	p := &process{name: name, cmd: exec.Command(program, args...), done: make(chan struct{})}
	p.cmd.Env = env
	// Ctrl-C goes to the whole group of a terminal; who ends these, and when, is for this process to say.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.Stderr = &p.log
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	p.stdin = stdin
	var stdout io.ReadCloser
	if line == nil {
		p.cmd.Stdout = &p.log
	} else if stdout, err = p.cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	if line != nil {
		*line, err = bufio.NewReader(stdout).ReadString('\n')
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	if err != nil {
		p.stop()
		return nil, fmt.Errorf("%s said nothing: %w\n%s", name, err, p.log.String())
	}
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// stop asks the process to end, and makes it after a while.
func (p *process) stop() {
	p.stdin.Close()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// await asks until ok, the process ends, or it takes too long.
func (p *process) await(ctx context.Context, ok func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		err := ok(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended: %w\n%s", p.name, p.err, p.log.String())
		case <-ctx.Done():
			return fmt.Errorf("%s does not get ready: %w\n%s", p.name, err, p.log.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// answers asks an address for a page that must be there.
func answers(url string) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := page(ctx, url)
		return err
	}
}

// listens asks whether somebody accepts connections.
func listens(addr string) func(context.Context) error {
	return func(ctx context.Context) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err
	}
}

// freePorts returns n loopback addresses that nobody listens on.
func freePorts(n int) ([]string, error) {
	var addrs []string
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer ln.Close()
		addrs = append(addrs, ln.Addr().String())
	}
	return addrs, nil
}

// run runs a program to its end and returns what it printed.
func run(ctx context.Context, env []string, stdin, program string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env, cmd.Stdin = env, strings.NewReader(stdin)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %.60s: %w\n%s", program, strings.Join(args, " "), err, errs.String())
	}
	return out, nil
}

// runLoad runs a task in a process of its own.
func runLoad(ctx context.Context, t task) (outcome, error) {
	var o outcome
	self, err := os.Executable()
	if err != nil {
		return o, err
	}
	argument, err := json.Marshal(t)
	if err != nil {
		return o, err
	}
	out, err := run(ctx, cleanEnv(), "", self, "load", string(argument))
	if err != nil {
		return o, err
	}
	return o, errors.Join(json.Unmarshal(out, &o), ctx.Err())
}
