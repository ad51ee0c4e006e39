package certificate

// Look does once what Run does every second.
func (k *Keeper) Look() { k.look() }
