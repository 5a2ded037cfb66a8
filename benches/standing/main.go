// standing: goroutines that wait, some that sleep again and again, and some that compute, for benches/repeated.
//
//	standing WAITING ACTIVE PERIOD COMPUTING
package main

import (
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"
)

var (
	never = make(chan int)
	other = make(chan int)
	group sync.WaitGroup
	sink  [64]uint64
)

func number(at int) int {
	n, err := strconv.Atoi(os.Args[at])
	if err != nil {
		panic(err)
	}
	return n
}

//go:noinline
func wait(kind, depth int) {
	if depth > 0 {
		wait(kind, depth-1)
		sink[0]++
		return
	}
	switch kind {
	case 0:
		<-never
	case 1:
		select {
		case <-never:
		case <-other:
		}
	case 2:
		group.Wait()
	default:
		time.Sleep(24 * time.Hour)
	}
}

//go:noinline
func compute(at int) {
	for x := uint64(1); ; x = x*6364136223846793005 + 1 {
		sink[at&63] = x
	}
}

func main() {
	period, err := time.ParseDuration(os.Args[3])
	if err != nil {
		panic(err)
	}
	group.Add(1)
	for i := range number(1) {
		go wait(i%4, 3+i/4%40)
	}
	for range number(2) {
		go func() {
			for {
				time.Sleep(period)
			}
		}()
	}
	time.Sleep(time.Second)
	for i := range number(4) {
		go compute(i)
	}
	fmt.Println("ready")
	os.Stdin.Read(make([]byte, 1))
}
