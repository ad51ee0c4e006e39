package main

import (
	"context"
	"fmt"

	"keygate/tests/programs"
)

func openHop(ctx context.Context, b *bench) ([]subject, error) {
	stub, err := b.StartStub(ctx)
	if err != nil {
		return nil, err
	}
	proxy, err := b.StartOwn(ctx, "proxy", programs.Launcher{Arguments: []string{"--upstream", "http://" + stub.Address}})
	if err != nil {
		return nil, err
	}
	version := programs.VersionOf(ctx, b.Path("proxy"), "--version")
	all := []subject{{
		name: "keygate", version: version,
		parts: []programs.Part{proxy.Part()}, load: b.loadtest("http://" + proxy.Address),
	}}
	perCore, err := openPerCore(ctx, b, stub.Address, version)
	if err != nil {
		return nil, err
	}
	all = append(all, perCore)
	for _, rival := range []func(context.Context, *bench, string) (subject, error){openNginx, openHAProxy} {
		found, err := b.optional(ctx, func(ctx context.Context, b *bench) (subject, error) { return rival(ctx, b, stub.Address) })
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return append(all, subject{
		name: "the stub alone", version: "no hop", parts: []programs.Part{stub.Part()},
		load: b.loadtest("http://" + stub.Address),
	}), nil
}

// openPerCore starts as many proxies behind one port as nginx has workers there.
func openPerCore(ctx context.Context, b *bench, upstream, version string) (subject, error) {
	s := subject{name: "keygate, a process for each core", version: version}
	l := programs.Launcher{
		Environment: []string{"GOMAXPROCS=1"}, Arguments: []string{"--reuse-port", "--upstream", "http://" + upstream},
	}
	for core := range 2 {
		proxy, err := b.StartOwn(ctx, "proxy", l)
		if err != nil {
			return s, err
		}
		l.Address = proxy.Address
		s.parts = append(s.parts, programs.Part{Name: fmt.Sprintf("proxy %d", core+1), PID: proxy.Part().PID})
	}
	s.load = b.loadtest("http://" + l.Address)
	return s, nil
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
	address, err := programs.FreeAddress()
	if err != nil {
		return subject{}, err
	}
	configuration, err := b.fill(file, address, upstream)
	if err != nil {
		return subject{}, err
	}
	p, err := b.Start(ctx, name, programs.Launch{Path: path, Args: []string{fileFlag, configuration}, Listen: address})
	if err != nil {
		return subject{}, err
	}
	return subject{
		name: name, version: programs.VersionOf(ctx, path, versionFlag),
		parts: []programs.Part{p.Part()}, load: b.loadtest("http://" + address),
	}, nil
}
