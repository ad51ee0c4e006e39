package sqlitesink

import "context"

// Pragma sets something of the sink's own connection, which must be open.
func (s *Sink) Pragma(ctx context.Context, text string) error {
	_, err := s.conn.ExecContext(ctx, "PRAGMA "+text)
	return err
}
