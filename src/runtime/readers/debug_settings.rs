//! The program's own `GODEBUG` settings, as they are now: a program may change them as it runs.
//!
//! Each setting is a `dbgVar` (runtime/runtime1.go; this form since 1.22), found by its name in the program's
//! data, so that it is found without symbols too.

use crate::addr::Addr;
use crate::bytes::FieldsExt as _;
use crate::process::remember::{Finding, remembered};
use crate::process::{ReadError, Target, TargetExt as _};
use crate::runtime::GoProcess;
use crate::runtime::readers::bulk;

/// `tracebacklabels`, which decides whether headers of tracebacks have labels.
pub(crate) const TRACEBACK_LABELS: &str = "tracebacklabels";

/// Most bytes of data that are searched.
const MAX_DATA: u64 = 64 << 20;
/// Size of the pieces in which they are read, bytes.
const CHUNK: usize = 1 << 20;
/// Most pointers to a string of the right length that are followed.
const MAX_CANDIDATES: usize = 1 << 20;
/// Bytes of a `dbgVar` that are looked at: a string, and pointers to a plain and to an atomic value.
const DBG_VAR: usize = 32;

/// The value of the setting `name`; `None` where it is not found.
///
/// # Errors
/// When the target could not be read.
pub(crate) fn read_setting(process: GoProcess<'_>, name: &str) -> Result<Option<i32>, ReadError> {
    let data = process.program.module.data.clone();
    let key = format!("GODEBUG {name}");
    let Place(found) = remembered(process.target, &key, |target| search(target, data, name).map(Place))?;
    let Some(at) = found else { return Ok(None) };
    Ok(process.target.read_array::<4>(at)?.map(i32::from_le_bytes))
}

/// Where the value of a setting is.
struct Place(Option<Addr>);

impl Finding for Place {
    fn encode(&self) -> Vec<u8> {
        self.0.map_or_else(Vec::new, |at| at.0.to_le_bytes().to_vec())
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        match bytes.len() {
            0 => Ok(Self(None)),
            8 => Ok(Self(bytes.u64_at(0).map(Addr))),
            len => Err(format!("it has {len} bytes")),
        }
    }
}

/// Searches `data` for the setting's `dbgVar`.
fn search(target: &dyn Target, data: std::ops::Range<u64>, name: &str) -> Result<Option<Addr>, ReadError> {
    let end = data.end.min(data.start.saturating_add(MAX_DATA));
    let len = u32::try_from(name.len()).unwrap_or(u32::MAX);
    let mut buffer = vec![0; CHUNK];
    let mut at = data.start;
    // Pointers to the names, and to the values: the atomic one where there are both.
    let (mut names, mut values) = (Vec::new(), Vec::new());
    while at < end && names.len() < MAX_CANDIDATES {
        let want = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
        let Some(chunk) = buffer.get_mut(..want) else { break };
        let got = target.read(Addr(at), chunk)?;
        for start in (0..got).step_by(8) {
            let word = |index: usize| chunk.get(..got)?.u64_at(start.checked_add(8 * index)?);
            if word(1) != Some(len.into()) {
                continue;
            }
            let (Some(text), Some(plain), Some(atomic)) = (word(0), word(2), word(3)) else { continue };
            let value = if atomic == 0 { plain } else { atomic };
            if text != 0 && value != 0 && value.is_multiple_of(4) {
                names.push(Addr(text));
                values.push(Addr(value));
            }
        }
        if got < want {
            break;
        }
        // What lies across the end of the chunk is seen whole in the next one.
        at = at.saturating_add((want.saturating_sub(DBG_VAR - 8)).max(8) as u64);
    }
    let mut found = None;
    bulk::for_each(target, &names, len, |index, bytes| {
        if bytes == Some(name.as_bytes()) && found.is_none() {
            found = values.get(index).copied();
        }
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Arch;
    use crate::process::fake::FakeTarget;

    fn words(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn find(data: &[u64]) -> Option<Addr> {
        let target = FakeTarget::new(Arch::Amd64)
            .with_segment(Addr(0x1000), *b"tracebackancestotracebacklabels\0")
            .with_segment(Addr(0x10_0000), words(data));
        search(&target, 0x10_0000..0x10_0000 + 8 * data.len() as u64, TRACEBACK_LABELS).unwrap()
    }

    const OTHER: u64 = 0x1000;
    const NAME: u64 = 0x1010;

    #[test]
    fn a_setting_is_found_by_its_name() {
        assert_eq!(find(&[OTHER, 15, 0x2000, 0, 1, NAME, 15, 0x2004, 0, 0]), Some(Addr(0x2004)));
        // The atomic value is the one that counts.
        assert_eq!(find(&[1, NAME, 15, 0x2004, 0x2008, 0]), Some(Addr(0x2008)));
        for without in [&[OTHER, 15, 0x2000, 0][..], &[NAME, 14, 0x2000, 0], &[NAME, 15, 0, 0], &[NAME, 15], &[]] {
            assert_eq!(find(without), None, "{without:x?}");
        }
    }

    #[test]
    fn one_across_the_edge_of_a_chunk_is_found() {
        for before in CHUNK / 8 - 4..=CHUNK / 8 {
            let mut data = vec![0; before];
            data.extend([NAME, 15, 0x2004, 0, 0]);
            assert_eq!(find(&data), Some(Addr(0x2004)), "{before}");
        }
    }

    #[test]
    fn a_place_survives_a_recording() {
        for place in [None, Some(Addr(7))] {
            assert_eq!(Place::decode(&Place(place).encode()).unwrap().0, place);
        }
        assert!(Place::decode(&[1, 2]).is_err());
    }
}
