package server

// Arriving returns how much is held of bodies that are on their way.
func (s *Server) Arriving() int {
	s.arrivals.mu.Lock()
	defer s.arrivals.mu.Unlock()
	return s.arrivals.held
}
