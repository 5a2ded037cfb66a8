//! The block and the mutex profile, as `/debug/pprof/block` and `mutex` have them.

use std::io::{self, Write};

use super::builder::{Builder, Header};
use super::list;
use crate::analysis::profile::{events, scaled_contention};
use crate::go_names::minor_of;
use crate::model::{ContentionKind, ContentionProfile, ContentionSite, Snapshot};

/// Sites by how long they lasted, longest first.
fn sorted(profile: &ContentionProfile) -> Vec<&ContentionSite> {
    let mut sites: Vec<&ContentionSite> = profile.sites.iter().collect();
    sites.sort_by_key(|site| std::cmp::Reverse(site.cycles));
    sites
}

/// Writes it gzipped, and gives how many samples it has. `snapshot` says whose it is. Where the time of events is
/// not known, it is 0.
///
/// # Errors
/// Those of `out`.
pub fn write(out: &mut dyn Write, profile: &ContentionProfile, snapshot: &Snapshot) -> io::Result<u64> {
    let header = Header {
        sample_types: &[("contentions", "count"), ("delay", "nanoseconds")],
        default_sample_type: Some("delay"),
        period: ("contentions", "count", 1),
        time_ns: snapshot.captured_at_unix_ns,
        duration_ns: 0,
        comment: &format!("{} profile of pid {} read by gospy", profile.kind.name(), snapshot.target.pid),
    };
    let mut builder = Builder::new(out, &profile.symbols, &snapshot.target, &header)?;
    for site in sorted(profile) {
        let locations = builder.locations(list::without_exit(&profile.symbols, &site.stack))?;
        let (count, ns) = scaled_contention(profile, site);
        builder.add(&Builder::<&mut dyn Write>::sample(&locations, &[count, ns.unwrap_or(0)]))?;
    }
    builder.finish()
}

/// Writes the list of `debug=1`.
///
/// # Errors
/// Those of `out`.
pub fn list(out: &mut dyn Write, profile: &ContentionProfile, snapshot: &Snapshot) -> io::Result<()> {
    let minor = minor_of(&snapshot.target.go_version).unwrap_or(u32::MAX);
    writeln!(out, "--- {}:", if profile.kind == ContentionKind::Block { "contention" } else { "mutex" })?;
    if let Some(ticks) = profile.ticks_per_second {
        writeln!(out, "cycles/second={}", ticks as u64)?;
    }
    if let (ContentionKind::Mutex, Some(rate)) = (profile.kind, profile.rate) {
        writeln!(out, "sampling period={rate}")?;
    }
    for site in sorted(profile) {
        write!(out, "{} {} @", site.cycles, events(profile, site))?;
        list::addresses(out, &site.stack)?;
        list::frames(out, &profile.symbols, &site.stack, minor, true)?;
    }
    Ok(())
}
