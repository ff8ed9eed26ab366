package world

func probeSockets(fact func(string, any)) {}
func probeIPC(fact func(string, any))     {}
func probeDestroy(fact func(string, any)) {}
func probeTraffic(fact func(string, any)) {}
func probeStart(fact func(string, any))   {}
