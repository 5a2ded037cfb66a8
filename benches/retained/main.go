// Retained keeps MIB mebibytes of orders in a package variable: retained MIB. On standard input, `profile FILE` writes its
// own heap profile after a collection, as /debug/pprof/heap?gc=1 does, and answers how long that took; `heartbeat` starts
// a goroutine that only looks at the clock, or ends it and answers the longest gap that it has noticed; `memory` answers
// what runtime.MemStats has after a collection. It ends with its input.
package main

import (
	"bufio"
	"encoding/json"
	"os"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

type item struct {
	name  string
	price float64
}

type order struct {
	id    int
	items []*item
	notes map[string]string
	raw   []byte
}

var orders []*order

//go:noinline
func newOrder(id int) *order {
	o := &order{id: id, raw: make([]byte, 512), notes: map[string]string{"to": strconv.Itoa(id)}}
	for i := 0; i < 8; i++ {
		o.items = append(o.items, &item{name: "item " + strconv.Itoa(i), price: float64(i)})
	}
	return o
}

func live() runtime.MemStats {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return stats
}

var gap int64

func heartbeat(done <-chan struct{}) {
	for last := time.Now(); ; {
		select {
		case <-done:
			return
		default:
		}
		now := time.Now()
		if passed := int64(now.Sub(last)); passed > atomic.LoadInt64(&gap) {
			atomic.StoreInt64(&gap, passed)
		}
		last = now
		runtime.Gosched()
	}
}

func profile(path string) (int64, error) {
	started := time.Now()
	runtime.GC()
	file, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	err = pprof.Lookup("heap").WriteTo(file, 0)
	return int64(time.Since(started)), err
}

func main() {
	mib, err := strconv.Atoi(os.Args[1])
	if err != nil {
		panic(err)
	}
	for stats := live(); stats.HeapAlloc < uint64(mib)<<20; stats = live() {
		for i := 0; i < 20_000; i++ {
			orders = append(orders, newOrder(len(orders)))
		}
	}
	out := json.NewEncoder(os.Stdout)
	out.Encode(os.Getpid())
	lines := bufio.NewScanner(os.Stdin)
	var beating chan struct{}
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		switch words[0] {
		case "heartbeat":
			if beating == nil {
				beating = make(chan struct{})
				go heartbeat(beating)
				time.Sleep(100 * time.Millisecond)
				atomic.StoreInt64(&gap, 0)
				out.Encode(0)
				continue
			}
			close(beating)
			beating = nil
			out.Encode(atomic.LoadInt64(&gap))
		case "profile":
			took, err := profile(words[1])
			if err != nil {
				panic(err)
			}
			out.Encode(took)
		case "memory":
			stats := live()
			out.Encode([]uint64{stats.HeapAlloc, stats.HeapObjects})
		}
	}
}
