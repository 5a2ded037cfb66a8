use super::*;
use crate::model::Snapshot;
use crate::model::testing::{GoroutineSpec, SnapshotBuilder, frame};
use crate::model::{Status, WarningCode};

const MINUTE: u64 = 60_000_000_000;

/// A program with a bit of everything.
fn shop() -> SnapshotBuilder {
    let mut builder = SnapshotBuilder::new();
    let park = || frame("runtime.gopark", "/usr/local/go/src/runtime/proc.go", 461);
    builder
        .add(&GoroutineSpec {
            id: 1,
            reason: Some("select (no cases)"),
            wait_ns: Some(190 * MINUTE),
            frames: vec![park(), frame("main.main", "/home/ci/shop/cmd/orders/main.go", 88)],
            ..Default::default()
        })
        .add(&GoroutineSpec {
            id: 2,
            reason: Some("force gc (idle)"),
            frames: vec![park(), frame("runtime.forcegchelper", "/usr/local/go/src/runtime/proc.go", 373)],
            system: true,
            ..Default::default()
        })
        .add(&GoroutineSpec {
            id: 19,
            status: Status::Running,
            thread: Some(2),
            frames: vec![frame("example.com/shop/internal/pricing.(*Engine).Recalculate", "/x/engine.go", 1)],
            ..Default::default()
        })
        .add(&GoroutineSpec {
            id: 34,
            status: Status::Syscall,
            wait_ns: Some(3 * MINUTE + 4_000_000_000),
            thread: Some(0),
            locked: true,
            frames: vec![
                frame("syscall.Syscall6", "/usr/local/go/src/syscall/syscall_linux.go", 96),
                frame("github.com/fsnotify/fsnotify.(*inotify).readEvents", "/go/pkg/mod/github.com/fsnotify/fsnotify@v1.9.0/backend_inotify.go", 412),
            ],
            ..Default::default()
        })
        .add(&GoroutineSpec {
            id: 35,
            reason: Some("chan receive"),
            wait_ns: Some(12 * MINUTE),
            frames: vec![
                park(),
                frame(
                    "github.com/prometheus/client_golang/prometheus/internal/collector.(*Registry).processMetricsLoop.func1",
                    "/go/pkg/mod/github.com/prometheus/client_golang@v1.22.0/prometheus/internal/collector/registry.go",
                    455,
                ),
            ],
            ..Default::default()
        });
    builder
}

fn many() -> SnapshotBuilder {
    let mut builder = shop();
    for id in 100..1_340_u64 {
        let (reason, function, file, line) = match id % 31 {
            0..=20 => (
                "chan receive",
                "example.com/shop/internal/worker.(*Pool).run",
                "/home/ci/shop/internal/worker/pool.go",
                71,
            ),
            21..=28 => ("IO wait", "internal/poll.(*FD).Read", "/usr/local/go/src/internal/poll/fd_unix.go", 165),
            29 => ("select", "net/http.(*persistConn).writeLoop", "/usr/local/go/src/net/http/transport.go", 2590),
            _ => (
                "sync.Mutex.Lock",
                "example.com/shop/internal/cart.Update[go.shape.struct { ID int64; Lines []example.com/shop/internal/cart.Line }]",
                "/home/ci/shop/internal/cart/update.go",
                40,
            ),
        };
        builder.add(&GoroutineSpec {
            id,
            reason: Some(reason),
            wait_ns: (id % 3 != 0).then_some((id % 7) * MINUTE + 1_000_000_000),
            frames: vec![frame(function, file, line)],
            ..Default::default()
        });
    }
    builder
}

fn render(snapshot: &Snapshot, options: &SummaryOptions) -> String {
    let index = Index::new(snapshot);
    let selected: Vec<usize> = (0..snapshot.goroutines.len()).collect();
    let mut out = Vec::new();
    summary(&mut out, &index, &selected, options).expect("a Vec takes everything");
    String::from_utf8(out).expect("text is UTF-8")
}

fn at(width: usize) -> SummaryOptions {
    SummaryOptions { style: TextStyle { width: Some(width), colour: false }, ..Default::default() }
}

#[test]
fn show() {
    for w in [80, 140] {
        println!("{}", render(&shop().build(), &at(w)));
        println!("{}", render(&many().build(), &at(w)));
    }
    let mut b = shop();
    b.edit().warnings.add(
        WarningCode::NearestLayout,
        "go1.99 is not known; the table of go1.27 was used after all of its checks passed on this program",
    );
    b.edit().reading.consistency.moving = 1;
    let mut o = at(100);
    o.style.colour = true;
    println!("{}", render(&b.build(), &o));
}
