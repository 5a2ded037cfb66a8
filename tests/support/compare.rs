//! What gospy prints of goroutines against the program's own dump, byte by byte: headers, arguments, places,
//! `created by`, ancestors, and what is left out of long stacks.
//!
//! The one thing that may differ is a minute that has passed between the two. Goroutines that ran when either was
//! made are for the caller to leave out, by a rule that it states.

use std::collections::BTreeMap;

use super::tally::Tally;
use super::traceback::{DumpGoroutine, parse_traceback};

pub fn by_id(text: &str) -> BTreeMap<u64, DumpGoroutine> {
    parse_traceback(text).into_iter().map(|goroutine| (goroutine.id, goroutine)).collect()
}

/// The header without its minutes.
fn timeless(goroutine: &DumpGoroutine) -> String {
    match goroutine.minutes {
        Some(minutes) => goroutine.header.replacen(&format!(", {minutes} minutes"), "", 1),
        None => goroutine.header.clone(),
    }
}

/// Every difference between what the program says of a goroutine and what gospy says.
pub fn differences(own: &DumpGoroutine, ours: &DumpGoroutine) -> Vec<String> {
    let mut found = Vec::new();
    let minutes = [own, ours].map(|goroutine| goroutine.minutes.unwrap_or(0));
    if timeless(own) != timeless(ours) || minutes[0].abs_diff(minutes[1]) > 1 {
        found.push(format!("header\n  its own: {}\n  gospy's: {}", own.header, ours.header));
    }
    let lines = own.lines.len().max(ours.lines.len());
    let line = |goroutine: &DumpGoroutine, index: usize| goroutine.lines.get(index).cloned();
    for index in 0..lines {
        let (theirs, our) = (line(own, index), line(ours, index));
        if theirs != our {
            let none = || "(nothing)".to_owned();
            let (theirs, our) = (theirs.unwrap_or_else(none), our.unwrap_or_else(none));
            found.push(format!("line {index}\n  its own: {theirs}\n  gospy's: {our}"));
        }
    }
    found
}

/// Compares two dumps of the same goroutines; how many goroutines there were is in the result.
pub fn compare_dumps(own: &str, ours: &str, skip: impl Fn(&DumpGoroutine) -> bool, tally: &mut Tally) -> usize {
    let ours = by_id(ours);
    let mut goroutines = 0;
    for (id, own) in by_id(own) {
        if skip(&own) {
            continue;
        }
        goroutines += 1;
        // A line is a value, and so is the header.
        tally.compared += own.lines.len() + 1;
        match ours.get(&id) {
            None => tally.wrong(format!("goroutine {id} is missing: {}", own.header)),
            Some(ours) => {
                for difference in differences(&own, ours) {
                    tally.wrong(format!("goroutine {id} {difference}"));
                }
            }
        }
    }
    goroutines
}
