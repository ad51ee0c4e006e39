package pgsource

import "slices"

// rowID tells a row of the log from all others, also from one that another server has written under the same id: the id,
// and when the change was made by the database's clock, in Unix seconds.
type rowID struct {
	id     int64
	madeAt float64
}

// told is what was delivered of late, in that order. What is read again after a lost connection would otherwise be removed
// again: after a change of many keys all of them would be unknown at once, just when the database has come back, and no
// last known answer would stand in.
type told []delivery

type delivery struct {
	row   rowID
	clock float64 // of the database, Unix seconds, when the row was read
}

// add notes what is delivered now, and forgets what is not read again, by twice the time that is, since it is by another
// machine's clock. Of very many changes it forgets the first.
func (t *told) add(found news) {
	for _, row := range found.rows {
		*t = append(*t, delivery{row, found.position.clock})
	}
	keep := slices.IndexFunc(*t, func(d delivery) bool { return found.position.clock-d.clock <= 2*overlap.Seconds() })
	if keep < 0 {
		keep = len(*t)
	}
	*t = (*t)[max(keep, len(*t)-maxRows):]
}

func (t told) set() map[rowID]bool {
	rows := make(map[rowID]bool, len(t))
	for _, d := range t {
		rows[d.row] = true
	}
	return rows
}
