//! The collector's share of the CPU over the latest cycles, against the program's own `runtime/metrics`.

use std::time::Duration;

use gospy::analysis::series::GcCpu;
use gospy::capture::{CaptureOptions, OpenOptions, Session};
use gospy::process::live::LiveTarget;

use crate::support::{Fixture, Mode, Running, Tally, VERSIONS, each};

/// CPU time of the collector, idle marking apart, and in all, as of the end of the latest cycle, s.
fn own(program: &mut Running) -> (f64, f64) {
    let metrics = &program.ask("metrics")["metrics"];
    let class = |name: &str| metrics[format!("/cpu/classes/{name}:cpu-seconds")].as_f64().unwrap();
    (class("gc/total") - class("gc/mark/idle"), class("total"))
}

#[test]
fn the_collectors_share_is_that_of_the_programs_metrics() {
    // The metrics came with Go 1.20.
    let versions: Vec<&str> = VERSIONS.into_iter().filter(|version| *version != "1.19").collect();
    let tally = each(
        &versions,
        |version| (*version).to_owned(),
        |version, tally: &mut Tally| {
            let mut program = Fixture::start("fx", version, Mode::Sw, &["many", "20000"]);
            let target = LiveTarget::open(program.pid()).unwrap();
            let mut session = Session::open(Box::new(target), &OpenOptions::default()).unwrap();
            let mut cpu = GcCpu::default();
            program.ask("gc");
            cpu.record(&session.capture(&CaptureOptions::default()).unwrap());
            let (gc, total) = own(&mut program);
            for pause_ms in [0, 100, 300] {
                for _ in 0..3 {
                    program.ask("gc");
                    std::thread::sleep(Duration::from_millis(pause_ms));
                }
                cpu.record(&session.capture(&CaptureOptions::default()).unwrap());
                let (gc_now, total_now) = own(&mut program);
                let own = (gc_now - gc) / (total_now - total);
                let ours = cpu.share().unwrap().share;
                tally.between(format!("after pauses of {pause_ms} ms"), own * 0.95 - 0.002, ours, own * 1.05 + 0.002);
                tally.holds("the collector took something", own > 0.0);
            }
        },
    );
    tally.check(42);
}
