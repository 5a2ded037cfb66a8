//! What a process uses of what it may use, in words.
//!
//! CPU time is always shown. A limit is shown where there is one, and descriptors only from half of their
//! limit on: what says nothing takes no room.

use super::units::{bytes, count, duration};
use crate::model::{Resources, TargetInfo};

/// A fact, and whether it wants a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fact {
    pub(crate) text: String,
    pub(crate) alarming: bool,
}

fn fact(alarming: bool, text: String) -> Fact {
    Fact { text, alarming }
}

/// From this share of a limit on, it wants a look.
const NEAR: f64 = 0.9;

fn is_near(used: u64, limit: u64) -> bool {
    used as f64 >= limit as f64 * NEAR
}

/// A share of one core: `2.5 %`, `150 %`.
fn percent(cores: f64) -> String {
    let percent = cores * 100.0;
    if percent >= 9.95 { format!("{percent:.0} %") } else { format!("{percent:.1} %") }
}

/// CPU use in the latest interval, as a share of one core (two cores are 200 %); where there was no
/// interval, the average since the start, which says so.
pub(crate) fn cpu(target: &TargetInfo) -> Option<Fact> {
    let resources = &target.resources;
    if let Some(cores) = resources.cores_used() {
        let near = resources.cores_allowed().is_some_and(|allowed| cores >= allowed * NEAR);
        return Some(fact(near, format!("CPU {} now", percent(cores))));
    }
    let uptime = target.uptime_ns.filter(|&ns| ns > 0)?;
    Some(fact(false, format!("CPU {} since start", percent(target.cpu_ns? as f64 / uptime as f64))))
}

/// The limits that say something.
pub(crate) fn limits(resources: &Resources) -> Vec<Fact> {
    let mut facts = Vec::new();
    if let Some(cores) = resources.cores_allowed() {
        facts.push(fact(false, format!("CPU {}", percent(cores))));
    }
    if let Some(throttled) = resources.cpu_throttled_periods.filter(|&n| n > 0) {
        let of = resources.cpu_periods.map_or_else(String::new, |all| format!(" of {}", count(all)));
        let wait = resources.cpu_throttled_ns.map_or_else(String::new, |ns| format!(" for {}", duration(ns)));
        facts.push(fact(true, format!("throttled in {}{of} periods{wait}", count(throttled))));
    }
    if let Some(limit) = resources.memory_limit_bytes {
        facts.push(match resources.memory_used_bytes {
            Some(used) => fact(is_near(used, limit), format!("memory {} of {}", bytes(used), bytes(limit))),
            None => fact(false, format!("memory {}", bytes(limit))),
        });
    }
    if let Some((open, limit)) = resources.open_fds.zip(resources.fd_limit)
        && open > limit / 2
    {
        facts.push(fact(true, format!("{} of {} descriptors open", count(open), count(limit))));
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::{cpu, limits};
    use crate::model::{Resources, TargetInfo};

    fn texts(resources: &Resources) -> Vec<(String, bool)> {
        limits(resources).into_iter().map(|fact| (fact.text, fact.alarming)).collect()
    }

    #[test]
    fn only_what_says_something() {
        let mut resources = Resources { open_fds: Some(512), fd_limit: Some(1_024), ..Resources::default() };
        resources.memory_used_bytes = Some(1 << 20);
        assert_eq!(texts(&resources), []);
        resources.open_fds = Some(513);
        assert_eq!(texts(&resources), [("513 of 1,024 descriptors open".into(), true)]);
        resources.open_fds = None;
        (resources.cpu_quota_us, resources.cpu_period_us) = (Some(150_000), Some(100_000));
        (resources.cpu_periods, resources.cpu_throttled_periods) = (Some(2_000), Some(0));
        resources.memory_limit_bytes = Some(2 << 20);
        assert_eq!(texts(&resources), [("CPU 150 %".into(), false), ("memory 1.00 MiB of 2.00 MiB".into(), false)]);
        resources.memory_used_bytes = Some((2 << 20) - 1);
        (resources.cpu_throttled_periods, resources.cpu_throttled_ns) = (Some(1_200), Some(3_500_000_000));
        let want = [
            ("CPU 150 %".into(), false),
            ("throttled in 1,200 of 2,000 periods for 3.50 s".into(), true),
            ("memory 1.99 MiB of 2.00 MiB".into(), true),
        ];
        assert_eq!(texts(&resources), want);
    }

    #[test]
    fn an_average_is_called_one() {
        let mut target = TargetInfo { cpu_ns: Some(5), uptime_ns: Some(20), ..TargetInfo::default() };
        let text = |target: &TargetInfo| cpu(target).map(|fact| (fact.text, fact.alarming));
        assert_eq!(text(&target), Some(("CPU 25 % since start".into(), false)));
        let resources = &mut target.resources;
        (resources.cpu_used_ns, resources.cpu_interval_ns) = (Some(150), Some(100));
        assert_eq!(text(&target), Some(("CPU 150 % now".into(), false)));
        (target.resources.cpu_quota_us, target.resources.cpu_period_us) = (Some(160), Some(100));
        assert_eq!(text(&target), Some(("CPU 150 % now".into(), true)));
        assert_eq!(text(&TargetInfo { uptime_ns: Some(0), cpu_ns: Some(0), ..TargetInfo::default() }), None);
    }
}
