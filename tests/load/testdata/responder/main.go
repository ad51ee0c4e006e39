// Command responder answers every request that ends in a blank line plus Content-Length bytes with one fixed 201.
// It does as little as a server can, so that what a load generator costs stands out beside it.
package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
)

const body = `{"id":"01890a5d-ac96-774b-bcce-b302099a8057","status":"accepted","created_at":"2026-01-01T00:00:00.000Z"}`

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(listener.Addr())
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go serve(conn)
	}
}

func serve(conn net.Conn) {
	defer conn.Close()
	answer := []byte("HTTP/1.1 201 Created\r\nServer: responder\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n" +
		"Content-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body)
	buf, have := make([]byte, 64<<10), 0
	for {
		n, err := conn.Read(buf[have:])
		if err != nil {
			return
		}
		have += n
		for size := requestSize(buf[:have]); size > 0; size = requestSize(buf[:have]) {
			if size > len(buf) { // only read past, as it does not fit
				if _, err := io.CopyN(io.Discard, conn, int64(size-have)); err != nil {
					return
				}
				size = have
			}
			if size > have {
				break
			}
			if _, err := conn.Write(answer); err != nil {
				return
			}
			have = copy(buf, buf[size:have])
		}
	}
}

// requestSize is the length of the request that b begins with, or 0 while its head is incomplete.
func requestSize(b []byte) int {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		return 0
	}
	_, after, _ := bytes.Cut(bytes.ToLower(b[:end+2]), []byte("\r\ncontent-length: ")) // HAProxy sends it so
	digits, _, _ := bytes.Cut(after, []byte("\r\n"))
	length, _ := strconv.Atoi(string(digits))
	return end + 4 + length
}
