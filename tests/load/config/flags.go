package config

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

const description = `Posts events to an API (POST /v1/events) and prints the throughput, the latency, the success
rate and, from the counters of keygate's proxy and writer before and after the run, the queries a request cost
and each cache tier's hit rate. Against any other service those two figures are "not available".

Without --rate the loop is closed: each connection sends when its last request was answered. With --rate it is open:
requests are due at a constant rate, and latency counts from the moment a request was due, so that a stall of the
target shows in full. A request due while every connection is busy waits for one, and that wait is part of its latency.

Only loopback targets are loaded unless --allow-remote is given. The key is never printed or written to a file.

Exit code: 0 when every threshold holds, 1 when one does not or the run was interrupted, 2 when there was no run.`

// NewApp is the command line; action gets the options once they make sense.
func NewApp(action func(*cli.Context, Options) error) *cli.App {
	options := Default()
	var proxy, writer cli.StringSlice
	app := &cli.App{
		Name:        "loadtest",
		Usage:       "load an event API and say how it did",
		UsageText:   "loadtest [--target URL] [--key K] [--requests N | --duration D] [--concurrency N | --rate R]",
		Description: description,
		HideVersion: true, HideHelpCommand: true,
		OnUsageError:   func(_ *cli.Context, err error, _ bool) error { return err },
		ExitErrHandler: func(*cli.Context, error) {}, // main decides on the exit code
	}
	app.Flags = named(append(append(
		loadFlags(&options), trafficFlags(&options)...), resultFlags(&options, &proxy, &writer)...))
	app.Action = func(c *cli.Context) error {
		if c.Args().Present() {
			return sentence(true, "%q is not understood: every option begins with --", c.Args().First())
		}
		if c.IsSet("duration") && !c.IsSet("requests") {
			options.Load.Requests = 0
		}
		options.Admin = Admin{Proxy: present(proxy.Value()), Writer: present(writer.Value())}
		if err := options.Validate(); err != nil {
			return err
		}
		return action(c, options)
	}
	return app
}

func loadFlags(o *Options) []cli.Flag {
	l := &o.Load
	return []cli.Flag{
		&cli.StringFlag{Name: "target", Destination: &o.Target, Value: o.Target, Usage: "`URL` of the API; " +
			"without a path /v1/events, or /v1/events/batch with --batch"},
		&cli.Int64Flag{Name: "requests", Destination: &l.Requests, Value: l.Requests, Usage: "make `N` requests"},
		&cli.DurationFlag{Name: "duration", Destination: &l.Duration, DefaultText: "by --requests",
			Usage: "make requests for `D`, instead of --requests"},
		&cli.Float64Flag{Name: "rate", Destination: &l.Rate, DefaultText: "closed loop",
			Usage: "send `R` requests a second, open loop"},
		&cli.IntFlag{Name: "concurrency", Destination: &l.Concurrency, Value: l.Concurrency,
			Usage: "keep `N` connections, each with one request in flight"},
		&cli.DurationFlag{Name: "warmup", Destination: &l.Warmup, Usage: "load for `D` first, uncounted"},
		&cli.DurationFlag{Name: "timeout", Destination: &l.Timeout, Value: l.Timeout, Usage: "give a request up after `D`"},
		&cli.BoolFlag{Name: "allow-remote", Destination: &o.AllowRemote, Usage: "allow hosts other than this one"},
	}
}

func trafficFlags(o *Options) []cli.Flag {
	t := &o.Traffic
	return []cli.Flag{
		&cli.StringFlag{Name: "key", Destination: &t.Key, DefaultText: DemoKeyFile,
			Usage: "the API `KEY`; other users see arguments, so prefer the environment or a file"},
		&cli.StringFlag{Name: "key-file", Destination: &t.KeyFile, Usage: "`FILE` that holds the API key"},
		&cli.StringFlag{Name: "keys", Destination: &t.KeysFile, Usage: "`FILE` of API keys, one a line, used in turn"},
		&cli.Float64Flag{Name: "zipf", Destination: &t.Zipf, DefaultText: "in turn",
			Usage: "choose among --keys by Zipf's law with exponent `S`, the first being the most frequent"},
		&cli.BoolFlag{Name: "bearer", Destination: &t.Bearer, Usage: "send the key as Authorization: Bearer, not X-API-Key"},
		&cli.IntFlag{Name: "batch", Destination: &t.Batch, Value: t.Batch,
			Usage: "send `N` events a request, over 1 as a JSON array"},
		&cli.Float64Flag{Name: "duplicates", Destination: &t.Duplicates,
			Usage: "repeat an earlier event, dedup id and all, for this `SHARE` of events"},
		&cli.IntFlag{Name: "payload-bytes", Destination: &t.PayloadBytes, DefaultText: "a contact of about 100 bytes",
			Usage: "pad each payload to `N` bytes"},
	}
}

func resultFlags(o *Options, proxy, writer *cli.StringSlice) []cli.Flag {
	t := &o.Thresholds
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "proxy-admin", Destination: proxy, Value: cli.NewStringSlice(o.Admin.Proxy...),
			Usage: "admin `URL` of a proxy; repeated, their counters are added up"},
		&cli.StringSliceFlag{Name: "writer-admin", Destination: writer, Value: cli.NewStringSlice(o.Admin.Writer...),
			Usage: "admin `URL` of a writer"},
		&cli.Float64Flag{Name: "min-success", Destination: &t.MinSuccess, Value: t.MinSuccess,
			Usage: "fail if a smaller `SHARE` of events succeeds"},
		&cli.DurationFlag{Name: "max-p99", Destination: &t.MaxP99, DefaultText: "any", Usage: "fail if p99 exceeds `D`"},
		&cli.Float64Flag{Name: "min-rate", Destination: &t.MinRate, DefaultText: "any",
			Usage: "fail if fewer than `R` requests a second succeed"},
		&cli.StringFlag{Name: "json", Destination: &o.Output.JSON, Usage: "write the result to `FILE`"},
		&cli.StringFlag{Name: "report", Destination: &o.Output.Report, Usage: "write an HTML report to `FILE`"},
	}
}

// named gives every flag its environment variable.
func named(flags []cli.Flag) []cli.Flag {
	for _, flag := range flags {
		env := []string{"LOADTEST_" + strings.ToUpper(strings.ReplaceAll(flag.Names()[0], "-", "_"))}
		switch f := flag.(type) {
		case *cli.StringFlag:
			f.EnvVars = env
		case *cli.StringSliceFlag:
			f.EnvVars = env
		case *cli.Int64Flag:
			f.EnvVars = env
		case *cli.IntFlag:
			f.EnvVars = env
		case *cli.Float64Flag:
			f.EnvVars = env
		case *cli.DurationFlag:
			f.EnvVars = env
		case *cli.BoolFlag:
			f.EnvVars = env
		}
	}
	return flags
}

// present leaves out what is empty: --proxy-admin "" is no proxy to ask.
func present(list []string) []string {
	return slices.DeleteFunc(list, func(s string) bool { return s == "" })
}
