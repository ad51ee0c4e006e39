package database_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/goleak"

	"keygate/shared/database"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestURLsAreShownWithoutPasswordAndParameters(t *testing.T) {
	shown := func(text, want string) {
		t.Helper()
		u, err := database.Parse(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			return
		}
		if got := fmt.Sprint(u); got != want {
			t.Errorf("%s is shown as %s, want %s", text, got, want)
		}
		if got := u.ConnString(); !strings.HasSuffix(text, got) {
			t.Errorf("%s is dialled as %s", text, got)
		}
	}
	shown("postgres://ann:s3cret@db:6432/app", "postgres://ann@db:6432/app")
	shown("postgresql://ann:s3cret@db/app?sslmode=disable", "postgres://ann@db:5432/app")
	shown("postgres://ann@db/app?password=s3cret&sslmode=disable", "postgres://ann@db:5432/app")
	shown("postgres://ann:s3cret@one:1,two:2/app?target_session_attrs=read-write", "postgres://ann@one:1,two:2/app")
	shown("postgres://ann:s3cret#1@db/app", "postgres://ann@db:5432/app")
	shown("sqlite:data/keygate.db", "sqlite:data/keygate.db")
	shown("sqlite:/var/lib/keygate.db", "sqlite:/var/lib/keygate.db")
}

func TestUnusableURLsAreRefusedWithoutQuotingThem(t *testing.T) {
	for _, text := range []string{
		"", "s3cret", "mysql://ann:s3cret@db/app", "host=db password=s3cret",
		"postgres://ann:s3cret@db:port/app", "postgres://ann:s3c ret@db/app", "postgres://ann:12/s3cret@db/app",
		"postgres://ann:s3cret%zz@db/app", "postgres://ann:s3cret@db/app?sslmode=maybe",
		"sqlite:", "sqlite:///s3cret.db", "sqlite::memory:", "sqlite:a\x00b",
	} {
		_, err := database.Parse(text)
		if !errors.Is(err, database.ErrURL) {
			t.Errorf("%q: got %v, want ErrURL", text, err)
			continue
		}
		if strings.Contains(err.Error(), "s3c") {
			t.Errorf("%q is quoted in %q", text, err)
		}
	}
}

func TestDialects(t *testing.T) {
	postgres, err := database.Parse("postgres://db/app")
	if err != nil || postgres.Dialect() != database.Postgres || postgres.Path() != "" {
		t.Errorf("got %v %q %v", postgres.Dialect(), postgres.Path(), err)
	}
	sqlite, err := database.Parse("sqlite:a b.db")
	if err != nil || sqlite.Dialect() != database.SQLite || sqlite.Path() != "a b.db" {
		t.Errorf("got %v %q %v", sqlite.Dialect(), sqlite.Path(), err)
	}
}

func TestOnlyAnExplicitTargetReplacesThePrimary(t *testing.T) {
	config, err := pgconn.ParseConfig("postgres://one,two/app")
	if err != nil {
		t.Fatal(err)
	}
	database.ToPrimary(config)
	if config.ValidateConnect == nil {
		t.Error("any server would be taken")
	}
}
