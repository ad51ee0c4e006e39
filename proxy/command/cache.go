package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"keygate/proxy/auth"
	"keygate/proxy/invalidate"
	"keygate/shared/flags"
)

func invalidateCommand() *cli.Command {
	var admin admins
	var all bool
	set := flags.New("PROXY", "")
	admin.flags(set)
	set.Bool("all", &all, "invalidate every key")
	return &cli.Command{
		Name: "invalidate", Usage: "make every proxy go back to the database for some keys", ArgsUsage: "PREFIX…",
		Flags: set.Flags(),
		Action: func(c *cli.Context) error {
			body := map[string]any{"prefixes": c.Args().Slice()}
			switch {
			case all == c.Args().Present():
				return errors.New("name the prefixes of the keys, or say --all")
			case all:
				body = map[string]any{"all": true}
			}
			return admin.each(c.Context, http.MethodPost, "/v1/cache/invalidate", body, func(url string, answer []byte) error {
				return printReport(c.App.Writer, url, answer)
			})
		},
	}
}

// printReport tells how far an invalidation got; less than everywhere is an error.
func printReport(w io.Writer, url string, answer []byte) error {
	var report invalidate.Report
	if err := json.Unmarshal(answer, &report); err != nil {
		return fmt.Errorf("understanding the answer: %w", err)
	}
	if report.Proxies == nil {
		return errors.New("this proxy's copies are gone; others could not be told, because Redis is out of reach")
	}
	fmt.Fprintf(w, "%s: %d of %d proxies confirmed in %.1f ms\n", url, report.Confirmed, *report.Proxies, report.TookMS)
	if !report.Complete {
		return errors.New("not every proxy has confirmed: run it again")
	}
	return nil
}

func explainCommand() *cli.Command {
	var admin admins
	set := flags.New("PROXY", "")
	admin.flags(set)
	return &cli.Command{
		Name: "explain", Usage: "show what each tier holds for a key, and whether proxies agree; exit 1 if anything differs",
		ArgsUsage: "PREFIX", Flags: set.Flags(),
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return errors.New("name the prefix of one key")
			}
			var all []explained
			path := invalidate.KeysPath + url.PathEscape(c.Args().First())
			err := admin.each(c.Context, http.MethodGet, path, nil, func(url string, answer []byte) error {
				e := explained{url: url}
				if err := json.Unmarshal(answer, &e.Explanation); err != nil {
					return fmt.Errorf("understanding the answer: %w", err)
				}
				all = append(all, e)
				return printExplanation(c.App.Writer, &e)
			})
			if !printComparison(c.App.Writer, all) {
				err = errors.Join(err, errors.New("the proxies differ; what has just changed is the same everywhere if you ask again"))
			}
			return err
		},
	}
}

// printExplanation shows what a proxy says; a cache that holds anything else than the source is an error.
func printExplanation(w io.Writer, e *explained) error {
	fmt.Fprintf(w, "%s %s\n", e.url, e.Prefix)
	for _, tier := range [...]struct {
		name string
		view auth.TierView
	}{{"memory", e.Memory}, {"redis", e.Redis}, {"source", e.Source}} {
		fmt.Fprintf(w, "  %-7s %-12s%s\n", tier.name, tier.view.State, describe(&tier.view))
	}
	switch {
	case !e.Agree:
		fmt.Fprintln(w, "  A CACHE DIFFERS FROM THE SOURCE")
		return errors.New("a cache differs from the source")
	case e.Source.State == "unreachable":
		fmt.Fprintln(w, "  the source could not be asked")
	default:
		fmt.Fprintln(w, "  no cache holds anything else than the source")
	}
	return nil
}

func describe(view *auth.TierView) string {
	var text strings.Builder
	if view.AgeMS != nil {
		fmt.Fprintf(&text, " read %v ago", millis(*view.AgeMS))
	}
	if view.FreshMS != nil && *view.FreshMS > 0 {
		fmt.Fprintf(&text, ", fresh for %v", millis(*view.FreshMS))
	}
	if view.Fill != "" {
		fmt.Fprintf(&text, ", fill %s", view.Fill)
	}
	for _, key := range view.Keys {
		text.WriteString(describeKey(&key))
	}
	return strings.TrimLeft(text.String(), ",;")
}

func describeKey(key *auth.KeyView) string {
	text := "; organization " + key.OrgID
	if !key.OrgEnabled {
		text += " (suspended)"
	}
	if !key.Enabled {
		text += ", revoked"
	}
	if key.ExpiresAt != nil {
		text += ", expires " + key.ExpiresAt.Format(time.RFC3339)
	}
	return text
}

func millis(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

func healthcheckCommand() *cli.Command {
	var admin admins
	set := flags.New("PROXY", "")
	admin.flags(set)
	return &cli.Command{
		Name: "healthcheck", Usage: "exit 0 if the proxy is ready, 1 if not", Flags: set.Flags(),
		Action: func(c *cli.Context) error {
			return admin.each(c.Context, http.MethodGet, "/readyz", nil, func(url string, answer []byte) error {
				fmt.Fprintf(c.App.Writer, "%s: %s\n", url, strings.TrimSpace(string(answer)))
				return nil
			})
		},
	}
}
