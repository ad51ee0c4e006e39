package pgsink

import "context"

// ForgetStatements does to the sink's session what a pooler does that gives it another one.
func (s *Sink) ForgetStatements(ctx context.Context) error {
	return s.conn.Exec(ctx, "DEALLOCATE ALL").Close()
}
