package redisstore

import (
	"errors"
	"strconv"
)

// sighting is what one look at a key saw.
type sighting struct {
	now     int64
	present bool
	value   string
	floor   int64 // 0 if none was read
}

var errAnswer = errors.New("the answer is not of the expected form")

// read takes a sighting from the answer of scriptGet or scriptLease.
func (s *sighting) read(answer []any) (err error) {
	if len(answer) != 3 {
		return errAnswer
	}
	var ok bool
	if s.now, ok = answer[0].(int64); !ok {
		return errAnswer
	}
	s.value, s.present = answer[1].(string)
	if text, ok := answer[2].(string); ok {
		s.floor, err = strconv.ParseInt(text, 10, 64)
	}
	return err
}
