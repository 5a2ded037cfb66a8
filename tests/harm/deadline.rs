//! A reader that hangs for as long as its target stands still: only the deadline can end that.

use std::process::Command;
use std::time::{Duration, Instant};

use gospy::addr::Addr;
use gospy::process::live::LiveTarget;
use gospy::process::{FreezeWhich, Target};
use nix::unistd::geteuid;

use super::counters::{Counters, Word};
use super::look::{c_program, eventually};
use super::outcome::bounded;
use super::sizes::Sizes;
use super::storms::goes_on;
use super::support::{Running, Tally};

/// Only a deadline ends such a reading; it is longer than this.
const SOME_TIME: Duration = Duration::from_millis(50);

#[test]
fn a_page_that_the_frozen_target_would_have_to_fill() {
    let counters = Counters::new();
    let mut command = Command::new(c_program("pager"));
    command.arg(counters.path());
    let mut pager = Running::spawn(command);
    pager.wait_ready();
    if let Some(error) = pager.ready["error"].as_str() {
        // Without privileges a kernel may have no such page to offer; with them it has.
        println!("no page of this kind without CAP_SYS_PTRACE: {error}");
        assert!(!geteuid().is_root(), "{error}");
        return;
    }
    let (address, page) = (pager.ready["address"].as_u64().unwrap(), pager.ready["page"].as_u64().unwrap());
    let pid = pager.pid();
    let mut tally = Tally::new("pager");
    let target = LiveTarget::open(pid).unwrap();
    // Without a freeze it is filled at once.
    let mut byte = [0];
    assert_eq!(target.read(Addr(address), &mut byte).unwrap(), 1);
    assert_eq!(byte, *b"p");
    let mut longest = Duration::ZERO;
    let trials = u64::try_from(Sizes::get().stops).unwrap();
    for trial in 1..=trials {
        let what = format!("trial {trial}");
        assert!(eventually(|| counters.get(Word::Progress) > 3));
        let call = bounded(pid, || {
            // A machine that has too much to do may refuse some.
            let frozen = (0..5).find_map(|_| target.freeze(&FreezeWhich::All).ok()).expect("never frozen");
            let start = Instant::now();
            let mut byte = [0];
            let got = target.read(Addr(address + trial * page), &mut byte);
            (got, byte, start.elapsed(), frozen.resume())
        });
        let (got, byte, took, ended) = call.result;
        tally.holds(format!("{what}: hung until the target was killed"), !call.hung);
        tally.holds(format!("{what}: read after {took:?}, though nobody can have filled the page"), took > SOME_TIME);
        longest = longest.max(took);
        // Once it ran again it filled the page; a freeze in which it ran is none.
        tally.holds(format!("{what}: read {got:?} {byte:?}, and yet it stood still all the time"), ended.is_err());
        if !goes_on(pid, &counters, &what, &mut tally) {
            break;
        }
    }
    println!("\nA page that the frozen target would have to fill: {trials} reads, the longest {longest:?}");
    tally.check(usize::try_from(trials).unwrap());
}
