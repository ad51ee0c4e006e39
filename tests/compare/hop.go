package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
)

func openHop(ctx context.Context, b *bench) ([]subject, error) {
	stub, upstream, err := b.startStub(ctx)
	if err != nil {
		return nil, err
	}
	proxy, edge, err := b.startOwn(ctx, "proxy", "--upstream", "http://"+upstream)
	if err != nil {
		return nil, err
	}
	all := []subject{{
		name: "keygate", version: versionOf(ctx, filepath.Join(b.bin, "proxy"), "--version"),
		parts: []part{{"proxy", proxy.cmd.Process.Pid}}, load: b.loadtest("http://" + edge),
	}}
	for _, rival := range []func(context.Context, *bench, string) (subject, error){openNginx, openHAProxy} {
		found, err := b.optional(ctx, func(ctx context.Context, b *bench) (subject, error) { return rival(ctx, b, upstream) })
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return append(all, subject{
		name: "the stub alone", version: "no hop", parts: []part{{"stub", stub}}, load: b.loadtest("http://" + upstream),
	}), nil
}

func openNginx(ctx context.Context, b *bench, upstream string) (subject, error) {
	path, err := find("nginx")
	if err != nil {
		return subject{}, err
	}
	return b.openEdge(ctx, "nginx", path, upstream, "nginx.conf", "-v", "-c")
}

func openHAProxy(ctx context.Context, b *bench, upstream string) (subject, error) {
	path, err := find("haproxy")
	if err != nil {
		return subject{}, err
	}
	return b.openEdge(ctx, "HAProxy", path, upstream, "haproxy.cfg", "-v", "-f")
}

// openEdge starts a proxy that takes one configuration file.
func (b *bench) openEdge(ctx context.Context, name, path, upstream, file, versionFlag, fileFlag string) (subject, error) {
	address, err := freeAddress()
	if err != nil {
		return subject{}, err
	}
	configuration, err := b.fill(file, address, upstream)
	if err != nil {
		return subject{}, err
	}
	p, err := b.start(ctx, name, launch{path: path, args: []string{fileFlag, configuration}, listen: address})
	if err != nil {
		return subject{}, err
	}
	return subject{
		name: name, version: versionOf(ctx, path, versionFlag),
		parts: []part{{name, p.cmd.Process.Pid}}, load: b.loadtest("http://" + address),
	}, nil
}

// startStub builds and starts the server that answers everything with one 201, and returns its process id and address.
// It is the one against which the load generator itself is measured.
func (b *bench) startStub(ctx context.Context) (pid int, address string, err error) {
	path := filepath.Join(b.dir, "responder")
	build := exec.CommandContext(ctx, "go", "build", "-o", path, "keygate/tests/load/testdata/responder")
	if out, err := build.CombinedOutput(); err != nil {
		return 0, "", fmt.Errorf("building the stub: %s", strings.TrimSpace(string(out)))
	}
	p := &program{name: "stub", cmd: exec.Command(path), ended: make(chan struct{})}
	printed, err := p.cmd.StdoutPipe()
	if err != nil {
		return 0, "", err
	}
	if err := p.cmd.Start(); err != nil {
		return 0, "", err
	}
	line, err := bufio.NewReader(printed).ReadString('\n')
	go func() {
		_, _ = io.Copy(io.Discard, printed)
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	b.programs = append(b.programs, p)
	if err != nil {
		return 0, "", fmt.Errorf("the stub does not say where it listens: %w", err)
	}
	return p.cmd.Process.Pid, strings.TrimSpace(line), nil
}
