package serving

// The phases of a body in chunks, but for their data. Each is named after what is to come next, or may.
const (
	sizeFirst phase = inChunkLines + iota
	sizeMore
	sizeLF
	extensionFirst
	extensionMore
	valueFirst
	valueMore
	valueQuoted
	valueEscaped
	valueAfterQuotes
	dataCR
	dataLF
	trailerFirst
	trailerMore
	trailerValue
	trailerLF
	lastLF
)

// What a client may say besides the data of a request, none of which is forwarded. A signature for each chunk takes less
// than 100 bytes, and 4 KiB a request are enough for bodies of some megabytes; the largest trailers in use are a few
// checksums and a signature.
const (
	maxExtensions   = 4 << 10
	maxTrailers     = 8 << 10
	maxTrailerLines = 64

	// maxDigits is as many as fasthttp reads of a chunk's size, zeros in front included.
	maxDigits = 15
)

// chunks is what framing knows of a body in chunks.
type chunks struct {
	digits     int // of the chunk's size
	extensions int // bytes of the request
	trailers   int // bytes of the request
	lines      int // of its trailers
}

// besides judges a byte that is not data.
func (f *framing) besides(c byte) error {
	switch {
	case f.phase <= sizeLF:
		return f.size(c)
	case f.phase <= valueAfterQuotes:
		return f.extension(c)
	case f.phase == dataCR && c == '\r':
		f.phase = dataLF
		return nil
	case f.phase == dataLF && c == '\n':
		f.phase = sizeFirst
		return nil
	case f.phase <= dataLF:
		return errChunk
	}
	return f.trailer(c)
}

// size judges the line of a chunk's size, as far as it has no extension.
func (f *framing) size(c byte) error {
	digit, isDigit := hexDigit(c)
	switch {
	case f.phase == sizeLF && c == '\n' && f.left > 0:
		f.phase = inChunk
	case f.phase == sizeLF && c == '\n':
		f.phase = trailerFirst
	case f.phase == sizeLF:
		return errLineEnd
	case isDigit && f.phase == sizeFirst:
		f.left, f.chunks.digits, f.phase = digit, 1, sizeMore
	case isDigit && f.chunks.digits < maxDigits:
		f.left = f.left<<4 | digit
		f.chunks.digits++
	case f.phase == sizeMore:
		return f.endOfExtension(c)
	default:
		return errChunk
	}
	return nil
}

// extension judges the grammar of RFC 9112, 7.1.1, without the white space that it calls bad: whoever reads past a quote
// that is not closed would find another end of the line.
func (f *framing) extension(c byte) error {
	if f.chunks.extensions++; f.chunks.extensions > maxExtensions {
		return errExtra
	}
	token := tokens[c]
	visible := c >= ' ' && c != 0x7f || c == '\t'
	switch {
	case f.phase == extensionFirst && token:
		f.phase = extensionMore
	case f.phase == extensionMore && c == '=':
		f.phase = valueFirst
	case f.phase == valueFirst && token:
		f.phase = valueMore
	case f.phase == valueFirst && c == '"', f.phase == valueEscaped && visible:
		f.phase = valueQuoted
	case f.phase == valueQuoted && c == '"':
		f.phase = valueAfterQuotes
	case f.phase == valueQuoted && c == '\\':
		f.phase = valueEscaped
	case f.phase == valueQuoted && visible, f.phase == extensionMore && token, f.phase == valueMore && token:
	case f.phase == extensionMore, f.phase == valueMore, f.phase == valueAfterQuotes:
		return f.endOfExtension(c)
	default:
		return errChunk
	}
	return nil
}

// endOfExtension judges what may stand behind a size or an extension.
func (f *framing) endOfExtension(c byte) error {
	switch c {
	case ';':
		f.phase = extensionFirst
		return nil
	case '\r':
		f.phase = sizeLF
		return nil
	}
	return errChunk
}

// trailer judges the section behind the last chunk.
func (f *framing) trailer(c byte) error {
	if f.chunks.trailers++; f.chunks.trailers > maxTrailers && c != '\n' { // which may be the last byte
		return errExtra
	}
	switch {
	case f.phase == trailerFirst && c == '\r':
		f.phase = lastLF
	case f.phase == trailerFirst && tokens[c]:
		if f.chunks.lines++; f.chunks.lines > maxTrailerLines {
			return errExtra
		}
		f.phase = trailerMore
	case f.phase == trailerMore && c == ':':
		f.phase = trailerValue
	case f.phase == trailerMore && tokens[c], f.phase == trailerValue && (c >= ' ' && c != 0x7f || c == '\t'):
	case f.phase == trailerValue && c == '\r':
		f.phase = trailerLF
	case f.phase == trailerLF && c == '\n':
		f.phase = trailerFirst
	case f.phase == lastLF && c == '\n':
		f.phase = between
	default:
		return errTrailer
	}
	return nil
}

func hexDigit(c byte) (int64, bool) {
	switch {
	case '0' <= c && c <= '9':
		return int64(c - '0'), true
	case 'a' <= c && c <= 'f':
		return int64(c-'a') + 10, true
	case 'A' <= c && c <= 'F':
		return int64(c-'A') + 10, true
	}
	return 0, false
}

// tokens are the bytes of a token of RFC 9110: visible ASCII characters without delimiters.
var tokens = func() (table [256]bool) {
	for c := '!'; c <= '~'; c++ {
		table[c] = true
	}
	for _, c := range `"(),/:;<=>?@[\]{}` {
		table[c] = false
	}
	return table
}()
