package serving

// Watch shows a watch the same bytes n times.
func Watch(piece []byte, n int) {
	var w lineWatch
	for range n {
		w.see(piece)
	}
}
