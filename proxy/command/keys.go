package command

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"keygate/migrations"
	"keygate/proxy/auth"
	"keygate/proxy/keys"
	"keygate/shared/database"
	"keygate/shared/flags"
)

// keyStore is what every command about keys needs to reach them.
type keyStore struct {
	program     string
	databaseURL string
	fallback    func() string // the database where none is given
	brand, env  string
	hash        string
	pepper      string
	json        bool
}

// Keys returns `keys create | list | rotate | revoke`, of the program whose environment variables begin with program.
// Fallback says which database is meant where none is given.
func Keys(program string, fallback func() string) *cli.Command {
	store := func() *keyStore {
		return &keyStore{program: program, fallback: fallback, brand: "zap", env: "live", hash: "sha256"}
	}
	return &cli.Command{
		Name: "keys", Usage: "create, list, rotate and revoke keys of keygate's own tables",
		Subcommands: []*cli.Command{
			createKey(store()), listKeys(store()), rotateKey(store()), revokeKey(store()),
		},
	}
}

func (k *keyStore) flags() *flags.Set {
	set := flags.New(k.program, "")
	set.String("database-url", &k.databaseURL, "where keys are kept: postgres://… or sqlite:PATH")
	set.Bool("json", &k.json, "print JSON")
	return set
}

func (k *keyStore) mintFlags(set *flags.Set) {
	set.String("key-brand", &k.brand, "the first part of a new key")
	set.String("key-env", &k.env, "the second part of a new key")
	set.String("key-hash", &k.hash, "how a new key is stored: sha256 or hmac-sha256")
	set.Secret("key-pepper", &k.pepper, "the key of hmac-sha256")
}

func createKey(k *keyStore) *cli.Command {
	var owner keys.Owner
	var expires time.Duration
	set := k.flags()
	set.String("org-name", &owner.Name, "the organization, which is created unless there is one of that name")
	set.String("org-id", &owner.ID, "the organization's id, where several have the name or it is yours to choose")
	set.Duration("expires", &expires, "the key ends after this time; 0: never")
	k.mintFlags(set)
	return &cli.Command{
		Name: "create", Usage: "make a new key and print it, once", Flags: set.Flags(),
		Action: func(c *cli.Context) error {
			if owner.Name == "" && owner.ID == "" {
				return errors.New("say whose key it is to be: --org-name")
			}
			var end time.Time
			if expires > 0 {
				end = time.Now().Add(expires)
			}
			return k.open(c.Context, func(ctx context.Context, store *keys.Store) error {
				created, err := store.Create(ctx, owner, end)
				if err != nil {
					return err
				}
				return k.printCreated(c.App.Writer, created)
			})
		},
	}
}

func rotateKey(k *keyStore) *cli.Command {
	overlap := 24 * time.Hour
	set := k.flags()
	set.Duration("overlap", &overlap, "the old key goes on working for this long")
	k.mintFlags(set)
	return &cli.Command{
		Name: "rotate", Usage: "make a new key in place of one that is about to end", ArgsUsage: "PREFIX", Flags: set.Flags(),
		Action: func(c *cli.Context) error {
			return k.onPrefix(c, func(ctx context.Context, store *keys.Store, prefix string) error {
				created, err := store.Rotate(ctx, prefix, overlap)
				if err != nil {
					return err
				}
				return k.printCreated(c.App.Writer, created)
			})
		},
	}
}

func revokeKey(k *keyStore) *cli.Command {
	set := k.flags()
	return &cli.Command{
		Name: "revoke", Usage: "end a key now; proxies hear of it by the change log", ArgsUsage: "PREFIX", Flags: set.Flags(),
		Action: func(c *cli.Context) error {
			return k.onPrefix(c, func(ctx context.Context, store *keys.Store, prefix string) error {
				if err := store.Revoke(ctx, prefix); err != nil {
					return err
				}
				if k.json {
					return printJSON(c.App.Writer, map[string]string{"prefix": prefix, "status": "revoked"})
				}
				_, err := fmt.Fprintln(c.App.Writer, "revoked", prefix)
				return err
			})
		},
	}
}

func listKeys(k *keyStore) *cli.Command {
	var orgID string
	set := k.flags()
	set.String("org-id", &orgID, "list the keys of this organization alone")
	return &cli.Command{
		Name: "list", Usage: "list keys, without the secret part that nobody has any more", Flags: set.Flags(),
		Action: func(c *cli.Context) error {
			return k.open(c.Context, func(ctx context.Context, store *keys.Store) error {
				list, err := store.List(ctx, orgID)
				if err != nil {
					return err
				}
				if k.json {
					return printJSON(c.App.Writer, append([]keys.Key{}, list...))
				}
				return printTable(c.App.Writer, list)
			})
		},
	}
}

// onPrefix runs a command about the one key that the arguments name.
func (k *keyStore) onPrefix(c *cli.Context, do func(context.Context, *keys.Store, string) error) error {
	if c.NArg() != 1 {
		return errors.New("name the prefix of one key")
	}
	prefix := c.Args().First()
	return k.open(c.Context, func(ctx context.Context, store *keys.Store) error { return do(ctx, store, prefix) })
}

// open opens the store for one command.
func (k *keyStore) open(ctx context.Context, do func(context.Context, *keys.Store) error) error {
	url, err := database.Parse(cmp.Or(k.databaseURL, k.fallback()))
	if err != nil {
		return fmt.Errorf("--database-url: %w", err)
	}
	alg, err := auth.ParseAlg(k.hash)
	if err != nil {
		return fmt.Errorf("--key-hash: %w", err)
	}
	if alg == auth.HMACSHA256 && k.pepper == "" {
		return errors.New("--key-hash hmac-sha256 needs a pepper: give --key-pepper-file")
	}
	db, err := database.Open(ctx, url)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := migrations.Check(ctx, db, migrations.Changelog, migrations.Auth); err != nil {
		return err
	}
	return do(ctx, keys.New(db, keys.Minting{Brand: k.brand, Env: k.env, Alg: alg, Pepper: []byte(k.pepper)}))
}

func (k *keyStore) printCreated(w io.Writer, created keys.Created) error {
	if k.json {
		return printJSON(w, created)
	}
	_, err := fmt.Fprintf(w, "key           %s\nprefix        %s\norganization  %s\n\n"+
		"The key is stored as a hash alone: this is the only time that it is shown.\n", created.Key, created.Prefix, created.OrgID)
	return err
}

func printTable(w io.Writer, list []keys.Key) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "PREFIX\tORGANIZATION\tNAME\tSTATUS\tCREATED\tEXPIRES")
	for i := range list {
		key := &list[i]
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n",
			key.Prefix, key.OrgID, key.OrgName, status(key), day(key.CreatedAt), day(key.ExpiresAt))
	}
	return table.Flush()
}

func status(key *keys.Key) string {
	switch {
	case !key.Enabled:
		return "revoked"
	case !key.ExpiresAt.IsZero() && key.ExpiresAt.Before(time.Now()):
		return "expired"
	case !key.OrgEnabled:
		return "suspended"
	}
	return "active"
}

func day(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

func printJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}
