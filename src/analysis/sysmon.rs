//! Which M runs the runtime's monitor (`runtime.sysmon`).

use crate::model::Thread;

/// The id of the M that runs `sysmon`; `None` unless it is certain.
///
/// `runtime.main` starts it before anything else can start an M (proc.go, 1.19 to 1.27), so that it is the first one
/// after `m0`, but for the M that programs with cgo hold ready for callbacks: that one has a goroutine locked
/// to it from the beginning. It never has a P or a goroutine, and never looks for work.
#[must_use]
pub(crate) fn sysmon(threads: &[Thread]) -> Option<i64> {
    let candidates = threads.iter().filter(|m| m.id > 0 && m.locked_goroutine.is_none());
    let first = candidates.min_by_key(|m| m.id).filter(|m| m.id <= 2)?;
    let is_free = first.p.is_none() && first.goroutine.is_none() && !first.spinning && !first.in_cgo;
    (is_free && first.tid.is_some()).then_some(first.id)
}

#[cfg(test)]
mod tests {
    use super::sysmon;
    use crate::addr::Addr;
    use crate::model::{Goid, Thread};

    fn m(id: i64) -> Thread {
        Thread {
            id,
            addr: Addr(0xc000_0000_0000),
            tid: Some(100),
            state: Some('S'),
            goroutine: None,
            p: None,
            spinning: false,
            blocked: false,
            in_cgo: false,
            cgo_calls: None,
            locked_goroutine: None,
        }
    }

    #[test]
    fn the_first_after_m0_that_no_goroutine_is_locked_to() {
        assert_eq!(sysmon(&[m(0), m(1), m(2)]), Some(1));
        let extra = Thread { locked_goroutine: Some(Goid(5)), ..m(1) };
        assert_eq!(sysmon(&[m(0), extra.clone(), m(2), m(3)]), Some(2));
        assert_eq!(sysmon(&[m(0)]), None);
        assert_eq!(sysmon(&[m(0), m(3)]), None);
        for busy in [
            Thread { p: Some(0), ..m(1) },
            Thread { goroutine: Some(Goid(7)), ..m(1) },
            Thread { spinning: true, ..m(1) },
            Thread { tid: None, ..m(1) },
        ] {
            assert_eq!(sysmon(&[m(0), busy, m(2)]), None);
        }
    }
}
