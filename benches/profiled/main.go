// Profiled computes in two goroutines and has N others that wait: profiled N. On standard input, `mark` answers how
// many rounds of work were done so far; `start cpu` and `stop cpu FILE` are the program's own CPU profile, `start
// fgprof` and `stop fgprof FILE` the one by github.com/felixge/fgprof; it ends with its input.
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/felixge/fgprof"
)

var rounds int64

//go:noinline
func compute(words *[4096]uint64) uint64 {
	var sum uint64
	for i := range words {
		sum = sum*31 + words[i]
		words[i] ^= sum
	}
	return sum
}

func work() {
	var words [4096]uint64
	for {
		compute(&words)
		atomic.AddInt64(&rounds, 1)
	}
}

//go:noinline
func deep(depth int, wait func()) {
	if depth > 0 {
		deep(depth-1, wait)
		return
	}
	wait()
}

// waiting starts one of several kinds of goroutines, each with ten frames.
func waiting(number int, channel chan int, lock *sync.Mutex) {
	waits := []func(){
		func() { <-channel },
		func() {
			select {
			case <-channel:
			case channel <- 1:
			}
		},
		func() { lock.Lock() },
	}
	go deep(10, waits[number%len(waits)])
}

// stopped ends a profile. fgprof divides by the number of its samples, and with many goroutines that may be none.
func stopped(stop func() error) error {
	defer func() {
		if panicked := recover(); panicked != nil {
			fmt.Fprintln(os.Stderr, "no profile:", panicked)
		}
	}()
	return stop()
}

func main() {
	count, err := strconv.Atoi(os.Args[1])
	if err != nil {
		panic(err)
	}
	var lock sync.Mutex
	lock.Lock()
	for i := 0; i < count; i++ {
		waiting(i, make(chan int), &lock)
	}
	go work()
	go work()
	fmt.Println("ready")
	var file strings.Builder
	var stop func() error
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		words := strings.Fields(lines.Text())
		switch {
		case len(words) == 2 && words[0] == "start":
			file.Reset()
			if words[1] == "cpu" {
				err = pprof.StartCPUProfile(&file)
				stop = func() error { pprof.StopCPUProfile(); return nil }
			} else {
				stop = fgprof.Start(&file, fgprof.FormatPprof)
			}
		case len(words) == 3 && words[0] == "stop":
			if err = stopped(stop); err == nil {
				err = os.WriteFile(words[2], []byte(file.String()), 0o600)
			}
		case len(words) != 1 || words[0] != "mark":
			err = fmt.Errorf("what is %q?", lines.Text())
		}
		if err != nil {
			panic(err)
		}
		fmt.Printf("{\"rounds\":%d}\n", atomic.LoadInt64(&rounds))
	}
}
