//! What gospy prints of goroutines against the program's own dump, goroutine by goroutine and line
//! by line. Arguments are left aside: gospy does not print them.

use std::collections::BTreeMap;

use super::tally::Tally;
use super::traceback::{DumpFrame, DumpGoroutine, parse_traceback};

/// Go 1.19 stops after 100 physical frames, those that it does not print among them, and says so
/// only when it has printed 100. Later versions always say what they leave out.
pub const SILENT_CUT: usize = 95;

/// What must be the same of a frame at the level of `runtime.Stack`.
pub fn frame_text(frame: &DumpFrame) -> String {
    let offset = frame.offset.map(|offset| format!(" +{offset:#x}")).unwrap_or_default();
    format!("{} {}:{}{offset}", frame.function, frame.file, frame.line)
}

/// The same at the level of SIGQUIT.
pub fn physical_text(frame: &DumpFrame) -> String {
    format!("{} fp={:x?} sp={:x?} pc={:x?}", frame_text(frame), frame.fp, frame.sp, frame.pc)
}

pub fn creator_text(goroutine: &DumpGoroutine) -> Option<String> {
    let c = goroutine.created_by.as_ref()?;
    Some(format!("{} in {:?} {}:{} {:?}", c.function, c.goroutine, c.file, c.line, c.offset))
}

/// Minutes may pass between the two.
pub fn header_text(goroutine: &DumpGoroutine) -> String {
    let extras: Vec<&str> =
        goroutine.extras.iter().map(String::as_str).filter(|extra| !extra.ends_with(" minutes")).collect();
    format!("{} {extras:?}", goroutine.state)
}

pub fn by_id(text: &str) -> BTreeMap<u64, DumpGoroutine> {
    parse_traceback(text).into_iter().map(|goroutine| (goroutine.id, goroutine)).collect()
}

/// Every difference between what the program says of a goroutine and what gospy says.
pub fn differences(own: &DumpGoroutine, ours: &DumpGoroutine, text: fn(&DumpFrame) -> String) -> Vec<String> {
    let mut found = Vec::new();
    let mut compare = |what: &str, own: String, ours: String| {
        if own != ours {
            found.push(format!("goroutine {what}\n  its own: {own}\n  gospy's: {ours}"));
        }
    };
    compare("header", header_text(own), header_text(ours));
    compare("creator", format!("{:?}", creator_text(own)), format!("{:?}", creator_text(ours)));
    let own_frames: Vec<String> = own.frames.iter().map(text).collect();
    let mut our_frames: Vec<String> = ours.frames.iter().map(text).collect();
    if let Some(elided) = own.elided {
        // The program cuts long stacks; gospy does not.
        match elided.count {
            Some(count) => {
                let count = usize::try_from(count).unwrap();
                compare("depth", (own_frames.len() + count).to_string(), our_frames.len().to_string());
                our_frames.drain(elided.before..(elided.before + count).min(our_frames.len()));
            }
            None => our_frames.truncate(own_frames.len()),
        }
    } else if own_frames.len() >= SILENT_CUT {
        our_frames.truncate(own_frames.len());
    }
    compare("stack", format!("{own_frames:#?}"), format!("{our_frames:#?}"));
    found
}

/// Compares two dumps of the same goroutines; how many goroutines there were is in the result.
pub fn compare_dumps(
    own: &str,
    ours: &str,
    skip: impl Fn(&DumpGoroutine) -> bool,
    text: fn(&DumpFrame) -> String,
    tally: &mut Tally,
) -> usize {
    let ours = by_id(ours);
    let mut goroutines = 0;
    for (id, own) in by_id(own) {
        if skip(&own) {
            continue;
        }
        goroutines += 1;
        // A frame is a value, and so are the header and the creator.
        tally.compared += own.frames.len() + 2;
        match ours.get(&id) {
            None => tally.wrong(format!("goroutine {id} is missing: {}", own.header)),
            Some(ours) => {
                for difference in differences(&own, ours, text) {
                    tally.wrong(format!("goroutine {id} {difference}"));
                }
            }
        }
    }
    goroutines
}
