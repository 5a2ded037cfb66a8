//! The decoders of what the kernel reports about processes, for fuzzing.

use std::io;

use rustc_hash::FxHashSet;

use super::perf::{Record, records};
use super::sock_diag::Dump;
use super::{blocked, container, maps, sockets};
use crate::addr::{Addr, Arch};

/// Records of a ring of perf events; how many there are.
pub(crate) fn perf(bytes: &[u8]) -> usize {
    let mut samples = 0;
    for arch in [Arch::Amd64, Arch::Arm64] {
        records(bytes, arch, |record| samples += usize::from(matches!(record, Record::Sample(..))));
    }
    samples
}

/// The files of `/proc` that are longer than a line, each as if these were its bytes; how much is in them.
pub(crate) fn proc_files(bytes: &[u8]) -> usize {
    let wanted: FxHashSet<u64> = (0..64).chain([31_337, 0xffff_ffff]).collect();
    let tables = sockets::find(&wanted, |_| io::Result::Ok(bytes), |_| None).len();
    let mut dump = Dump::default();
    let answers = dump.add(bytes, &wanted).is_some();
    let text = String::from_utf8_lossy(bytes);
    let mappings = maps::parse(bytes).map_or(0, |mappings| mappings.len());
    let device = maps::device_at(bytes, Addr(0x40_0000)).is_ok_and(|device| device.is_some());
    let activity = blocked::activity(&text);
    let is_blocked = matches!(activity, super::ThreadActivity::Blocked { .. });
    let found = [answers, device, is_blocked, container::container(&text).is_some()];
    tables + dump.finish().len() + mappings + found.into_iter().filter(|found| *found).count()
}
