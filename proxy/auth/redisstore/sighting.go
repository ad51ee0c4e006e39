package redisstore

import (
	"errors"
	"strconv"

	"github.com/redis/go-redis/v9"
)

// sighting is what one look at a key saw.
type sighting struct {
	now     int64
	present bool
	value   string
	floor   int64 // 0 if none was read
}

var errAnswer = errors.New("the answer is not of the expected form")

// of takes a sighting from three commands and the error of all, which is the first of theirs, or one that the library
// does not always give to the commands as well. A value of another type than a string is seen as the empty one, which
// is no record.
func (s *sighting) of(err error, now *redis.TimeCmd, value, floor *redis.StringCmd) error {
	if err != nil && !errors.Is(err, redis.Nil) && !redis.HasErrorPrefix(err, "WRONGTYPE") {
		return err
	}
	s.now = now.Val().UnixMilli()
	s.present, s.value = !errors.Is(value.Err(), redis.Nil), value.Val()
	if errors.Is(floor.Err(), redis.Nil) {
		return nil
	}
	s.floor, err = floor.Int64()
	return err
}

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
