#!/usr/bin/env bash
# Makes docs/top.svg anew: gospy top on a program that leaks, with notes. Run it at the repository's root.
set -euo pipefail
cargo build --release
fx=$(fixtures/build fx 1.26.6 sw)
# It ends with its standard input.
coproc target { exec "$fx" leak -rate 10 -busy 1; }
read -r _ <&"${target[0]}"
cargo run --quiet --example picture -- 112x20 docs/top.svg "8s d 8s" \
    "Goroutines=how many there are, how fast that changes, and what they do" \
    "of =the live heap, and the size at which the next collection starts" \
    "% now=CPU time since the refresh before; 100 % is one core. Limits of a cgroup stand below, where there are any" \
    "1:Groups=views, by number; to the right: how many rows, by what, and what is hidden or filtered" \
    "±MARK=change since d was pressed; what grows comes to the top" \
    "leakOne=the line of the program that they are at; Enter shows the stack" \
    -- target/release/gospy top --pid "$target_PID"
echo quit >&"${target[1]}"
