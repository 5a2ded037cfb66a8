//! arm64: stacks out of core files against what the programs say of themselves as they die, frame by
//! frame with its addresses. The programs run under QEMU.

use std::collections::BTreeMap;

use crate::support::{DumpFrame, DumpGoroutine, Fixture, Mode, VERSIONS, gospy, parse_traceback, qemu};

fn frame(frame: &DumpFrame) -> String {
    let DumpFrame { function, file, line, offset, fp, sp, pc, .. } = frame;
    format!("{function} {file}:{line} {offset:x?} fp={fp:x?} sp={sp:x?} pc={pc:x?}")
}

fn text(goroutine: &DumpGoroutine) -> String {
    let extras: Vec<&String> = goroutine.extras.iter().filter(|extra| !extra.ends_with(" minutes")).collect();
    let mut out = format!("goroutine {} [{} {extras:?}]\n", goroutine.id, goroutine.state);
    for one in &goroutine.frames {
        out += &format!("  {}\n", frame(one));
    }
    if let Some(c) = &goroutine.created_by {
        out += &format!("  created by {} {:?} {}:{} {:x?}\n", c.function, c.goroutine, c.file, c.line, c.offset);
    }
    out
}

fn by_id(text: &str) -> BTreeMap<u64, DumpGoroutine> {
    parse_traceback(text).into_iter().map(|goroutine| (goroutine.id, goroutine)).collect()
}

#[test]
fn stacks_are_those_that_the_program_prints() {
    let (mut goroutines, mut frames) = (0, 0);
    for version in VERSIONS {
        for mode in [Mode::Default, Mode::Sw] {
            let label = format!("{version} {}", mode.name());
            let program = Fixture::build_arm64("fx", version, mode);
            let dir = tempfile::tempdir().unwrap();
            let dead = qemu::die(&program, dir.path(), &["stacks", "1"]);
            let core = dead.core.to_str().unwrap();
            let ours = gospy(&["stack", "--from", core, "--bin", program.to_str().unwrap(), "--all", "--system"]).ok();
            let ours = by_id(&ours);
            let mut compared = 0;
            for (id, own) in by_id(&dead.said) {
                // Goroutine 0 is a scheduler's; what runs goes on while the dump is made, and so does the
                // scavenger, which wakes up by itself.
                let scavenges = own.frames.iter().any(|frame| frame.function.contains("scavenge"));
                if id == 0 || own.state == "running" || own.elided.is_some() || scavenges {
                    continue;
                }
                let Some(other) = ours.get(&id) else { panic!("{label}: goroutine {id} is missing: {}", own.header) };
                let (own_text, our_text) = (text(&own), text(other));
                assert_eq!(own_text, our_text, "{label}");
                compared += 1;
                frames += own.frames.len();
            }
            assert!(compared > 100, "{label}: only {compared} goroutines");
            goroutines += compared;
        }
    }
    println!("{goroutines} goroutines and {frames} frames compared");
}
