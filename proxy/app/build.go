package app

import (
	"crypto/rand"
	"errors"
	"strings"
	"time"

	"keygate/proxy/apikey"
	"keygate/proxy/auth"
	"keygate/proxy/auth/memstore"
	"keygate/proxy/auth/redisstore"
	"keygate/proxy/fastpath"
	"keygate/proxy/forward"
	"keygate/proxy/identity"
	"keygate/proxy/invalidate"
	"keygate/proxy/server"
	"keygate/proxy/upstream"
	"keygate/proxy/verify"
	"keygate/shared/admin"
	"keygate/shared/build"
	"keygate/shared/certificate"
	"keygate/shared/serving"
	"keygate/shared/trust"
)

const (
	// negativeShare of the cache's memory remembers keys that do not exist: 16 MiB at the default, 200,000 of them.
	negativeShare = 16
	// redisTimeout is what a request waits for Redis. A healthy one answers within a millisecond.
	redisTimeout = 50 * time.Millisecond
	// aliveMargin is how much longer than its copies are fresh a silent proxy is waited for.
	aliveMargin = 3 * time.Second
)

func (a *App) buildTiers() (err error) {
	if a.secrets, err = trust.Parse(a.cfg.TrustSecret); err != nil {
		return err
	}
	forget := a.cfg.Cache.TTL + a.cfg.Redis.TTL + a.cfg.Cache.StaleIfError
	if a.memory, err = memstore.Open(memstore.Config{MaxBytes: a.cfg.Cache.Size, Forget: forget}); err != nil {
		return err
	}
	a.negative, err = memstore.Open(memstore.Config{
		MaxBytes: a.cfg.Cache.Size / negativeShare, Forget: max(a.cfg.Cache.NegativeTTL, time.Second),
	})
	if err != nil {
		return err
	}
	if a.cfg.Redis.URL != "" {
		if err := a.buildRedis(); err != nil {
			return err
		}
	}
	a.source, err = newSource(&a.cfg, a.log, a.registry)
	return err
}

func (a *App) buildRedis() (err error) {
	a.redis, err = redisstore.New(redisstore.Config{
		URL: a.cfg.Redis.URL, KeyPrefix: a.cfg.Redis.KeyPrefix,
		RedisTTL: a.cfg.Redis.TTL, StaleIfError: a.cfg.Cache.StaleIfError, Timeout: redisTimeout,
		ProxyID: rand.Text(), Alive: a.cfg.Cache.TTL + aliveMargin,
		Secrets: a.secrets, Logger: a.log, Metrics: redisstore.NewMetrics(a.registry),
	})
	return err
}

func (a *App) buildResolver() error {
	cfg := auth.Config{
		Format: apikey.Format{ForeignPrefix: a.cfg.Keys.PrefixLength}, Pepper: []byte(a.cfg.Keys.Pepper),
		Memory: a.memory, Negative: a.negative, Source: a.source,
		CacheTTL: a.cfg.Cache.TTL, SharedTTL: a.cfg.Redis.TTL,
		NegativeTTL: a.cfg.Cache.NegativeTTL, StaleIfError: a.cfg.Cache.StaleIfError,
		SourceRate: a.cfg.Source.Rate, SourceConcurrency: a.cfg.Source.Concurrency,
		HashesMayChange: a.cfg.Keys.Query != "",
		Logger:          a.log, Metrics: auth.NewMetrics(a.registry),
	}
	if a.redis != nil {
		cfg.Cache = a.redis
	}
	a.resolver = auth.New(cfg)
	return nil
}

func (a *App) buildForwarder() error {
	cfg := a.cfg.Upstream
	routes := make([]upstream.Route, 0, len(cfg.Routes))
	for _, text := range cfg.Routes {
		prefix, url, ok := strings.Cut(text, "=")
		if !ok || !strings.HasPrefix(prefix, "/") {
			return errors.New("--route: write it as PREFIX=URL, as in /v1/events=http://127.0.0.1:8081")
		}
		routes = append(routes, upstream.Route{Prefix: prefix, URL: url})
	}
	clients, err := a.cfg.MaxConnections()
	if err != nil {
		return err
	}
	upstreams, err := upstream.New(upstream.Config{
		Upstreams: cfg.URLs, Routes: routes, ConnectTimeout: cfg.ConnectTimeout, IdleTimeout: cfg.IdleTimeout,
		MaxConns: clients, // no client that was accepted is refused for want of one
		Logger:   a.log, Registerer: a.registry,
	})
	if err != nil {
		return err
	}
	a.forward = forward.New(forward.Config{
		Upstreams: upstreams, Idempotent: cfg.Idempotent, Local: cfg.Local,
		ResponseTimeout: cfg.ResponseTimeout, IdleTimeout: cfg.IdleTimeout,
		MaxBody: int64(a.cfg.Clients.MaxBody), Registerer: a.registry,
	})
	return nil
}

func (a *App) openCertificate() (err error) {
	if a.cfg.TLS.Cert == "" {
		return nil
	}
	a.tls, err = certificate.Open(certificate.Config{
		CertFile: a.cfg.TLS.Cert, KeyFile: a.cfg.TLS.Key,
		Logger: a.log, Metrics: certificate.NewMetrics(a.registry, "proxy"),
	})
	return err
}

func (a *App) buildListeners() error {
	clients := a.cfg.Clients
	carriers, err := identity.ParseCarriers(clients.Credentials)
	if err != nil {
		return err
	}
	most, err := a.cfg.MaxConnections()
	if err != nil {
		return err
	}
	policy := identity.New(identity.Policy{
		OrgHeader: clients.OrgHeader, Carriers: carriers, KeepCredential: clients.KeepCredential, Secrets: a.secrets,
		TrustedHops: clients.TrustedHops, HTTPS: a.tls != nil,
	})
	var fast server.Fast
	if a.cfg.Upstream.Local == nil {
		fast = server.Fast{
			Auth: a.resolver, Upstreams: a.forward, ResponseTimeout: a.cfg.Upstream.ResponseTimeout,
			Metrics: fastpath.NewMetrics(a.registry),
		}
	}
	a.edge = server.New(server.Config{
		Address: a.cfg.Listen, Shared: a.cfg.ReusePort, TLS: a.tls,
		Limits: serving.Limits{Total: most, PerAddress: clients.MaxPerAddress},
		Auth:   a.resolver, Policy: policy, Forward: a.forward, Fast: fast,
		Public: clients.PublicPaths, PublicPreflight: clients.PublicPreflight, Timing: a.cfg.Timing,
		MaxBody: int64(clients.MaxBody), HeaderTimeout: clients.HeaderTimeout, IdleTimeout: clients.IdleTimeout,
		DrainDelay: a.cfg.DrainDelay, Logger: a.log, Metrics: serving.NewMetrics(a.registry, "proxy"),
	})
	if a.cfg.VerifyListen != "" {
		a.verify = verify.New(verify.Config{
			Address: a.cfg.VerifyListen, Auth: a.resolver, Policy: policy,
			HeaderTimeout: clients.HeaderTimeout, IdleTimeout: clients.IdleTimeout,
			DrainDelay: a.cfg.DrainDelay, Logger: a.log, Metrics: serving.NewMetrics(a.registry, "proxy_verify"),
		})
	}
	a.admin = admin.New(admin.Config{
		Program: "proxy", Listen: a.cfg.AdminListen, Token: a.cfg.AdminToken,
		Ready: a.ready, Gatherer: a.registry, Stats: a.stats, Headline: headline,
		Build: build.Info(), Logger: a.log,
	})
	a.endpoint().Routes(a.admin.Handle)
	return nil
}

func (a *App) endpoint() *invalidate.Endpoint {
	format := apikey.Format{ForeignPrefix: a.cfg.Keys.PrefixLength}
	cfg := invalidate.Config{Local: a.resolver, Logger: a.log, Metrics: a.resolver.Metrics, IsKey: func(text string) bool {
		_, whole := format.Split([]byte(text))
		return whole
	}}
	if a.redis != nil {
		cfg.Fleet = a.redis
	}
	if a.source.ownTable {
		cfg.Directory = a.source
	}
	return invalidate.New(cfg)
}
