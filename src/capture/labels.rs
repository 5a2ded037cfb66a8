//! What few goroutines have, and only pointers lead to: pprof labels, synctest bubbles, ancestors.
//!
//! Labels are a map up to Go 1.23 (runtime/pprof/runtime.go, runtime/map.go) and a slice from 1.24
//! on (runtime/pprof/label.go). They never change once a goroutine has them, so they are read
//! without a stop; but a goroutine may have dropped them by now, and its memory may be anything.
//! Therefore everything is bounded, and what makes no sense is told from there being none.

use rustc_hash::FxHashMap;

use super::symbolize::Symbolizer;
use crate::addr::Addr;
use crate::bytes::FieldsExt;
use crate::model::{Ancestor, AncestorsId, Goid, Label, LabelsId, SymbolPool};
use crate::process::{ReadError, Target, TargetExt};

/// Most labels of one goroutine that are read.
const MAX_LABELS: usize = 1024;
/// Longest key or value that is read whole, bytes.
const MAX_TEXT: usize = 16 * 1024;
/// Most buckets of one label map, overflow ones included.
const MAX_BUCKETS: usize = 4096;
/// Most ancestors of one goroutine.
const MAX_ANCESTORS: usize = 4096;
/// Most frames of one ancestor; the runtime itself keeps 50.
const MAX_ANCESTOR_FRAMES: usize = 1024;
/// The first version whose labels are a slice.
const SLICE_LABELS: u32 = 24;

/// Follows the pointers, each distinct one once.
pub(super) struct Follower<'a> {
    target: &'a dyn Target,
    minor: u32,
    labels: FxHashMap<u64, Option<Option<LabelsId>>>,
    bubbles: FxHashMap<u64, Option<u64>>,
    ancestors: FxHashMap<u64, Option<AncestorsId>>,
}

impl<'a> Follower<'a> {
    /// For a program of Go 1.`minor`.
    pub(super) fn new(target: &'a dyn Target, minor: u32) -> Self {
        Self {
            target,
            minor,
            labels: FxHashMap::default(),
            bubbles: FxHashMap::default(),
            ancestors: FxHashMap::default(),
        }
    }

    /// The labels behind `g.labels`, of which there may be none; `None` when they make no sense.
    pub(super) fn labels(&mut self, at: u64, pool: &mut SymbolPool) -> Result<Option<Option<LabelsId>>, ReadError> {
        if let Some(&known) = self.labels.get(&at) {
            return Ok(known);
        }
        let pairs = if self.minor >= SLICE_LABELS { self.slice(at)? } else { self.map(at)? };
        let id = pairs.map(|mut pairs| {
            pairs.sort();
            let labels: Vec<Label> = pairs
                .iter()
                .map(|(key, value)| Label { key: pool.intern_str(key), value: pool.intern_str(value) })
                .collect();
            (!labels.is_empty()).then(|| pool.intern_labels(labels))
        });
        self.labels.insert(at, id);
        Ok(id)
    }

    /// `LabelSet{list []label}`, a label being two strings.
    fn slice(&self, at: u64) -> Result<Option<Vec<(String, String)>>, ReadError> {
        const LABEL: usize = 32;
        let Some(list) = self.slice_of(at, LABEL, MAX_LABELS)? else { return Ok(None) };
        let mut pairs = Vec::new();
        for label in list.chunks_exact(LABEL) {
            let Some(pair) = self.pair(label, 0, 16)? else { return Ok(None) };
            pairs.push(pair);
        }
        Ok(Some(pairs))
    }

    /// `map[string]string` of the time before Swiss tables: buckets of eight with a byte of hash
    /// each, then the keys, the values and a pointer to the next bucket.
    fn map(&self, at: u64) -> Result<Option<Vec<(String, String)>>, ReadError> {
        const BUCKET: usize = 8 + 8 * 16 + 8 * 16 + 8;
        const MIN_TOP_HASH: u8 = 5;
        let Some(map) = self.target.read_u64(Addr(at))? else { return Ok(None) };
        if map == 0 {
            return Ok(Some(Vec::new()));
        }
        let Some(header) = self.target.read_array::<48>(Addr(map))? else { return Ok(None) };
        let (Some(count), Some(log), Some(first)) = (header.u64_at(0), header.u8_at(9), header.u64_at(16)) else {
            return Ok(None);
        };
        let buckets = 1_usize.checked_shl(log.into()).unwrap_or(usize::MAX);
        if buckets > MAX_BUCKETS || count > MAX_LABELS as u64 {
            return Ok(None);
        }
        let mut pairs = Vec::new();
        let mut left = MAX_BUCKETS;
        for index in 0..buckets {
            let mut bucket = first.wrapping_add((index * BUCKET) as u64);
            while bucket != 0 && left > 0 {
                left -= 1;
                let Some(bytes) = self.target.read_array::<BUCKET>(Addr(bucket))? else { return Ok(None) };
                for slot in 0..8 {
                    if bytes.u8_at(slot).is_some_and(|hash| hash >= MIN_TOP_HASH) {
                        let Some(pair) = self.pair(&bytes, 8 + 16 * slot, 136 + 16 * slot)? else { return Ok(None) };
                        pairs.push(pair);
                    }
                }
                bucket = bytes.u64_at(BUCKET - 8).unwrap_or(0);
            }
        }
        // A map that is being grown or is no map at all does not have the entries that it says.
        Ok((pairs.len() as u64 == count).then_some(pairs))
    }

    fn pair(&self, bytes: &[u8], key: usize, value: usize) -> Result<Option<(String, String)>, ReadError> {
        let (Some(key), Some(value)) = (self.text(bytes, key)?, self.text(bytes, value)?) else { return Ok(None) };
        Ok(Some((key, value)))
    }

    /// The Go string whose header is at `at` of `bytes`.
    fn text(&self, bytes: &[u8], at: usize) -> Result<Option<String>, ReadError> {
        let (Some(data), Some(len)) = (bytes.u64_at(at), bytes.u64_at(at + 8)) else { return Ok(None) };
        let Some(len) = usize::try_from(len).ok().filter(|&len| len <= MAX_TEXT) else { return Ok(None) };
        let text = self.target.read_vec(Addr(data), len)?;
        Ok(text.map(|text| String::from_utf8_lossy(&text).into_owned()))
    }

    /// The id of the bubble at `at`, whose id field is `offset` bytes in.
    pub(super) fn bubble(&mut self, at: u64, offset: u32) -> Result<Option<u64>, ReadError> {
        if let Some(&known) = self.bubbles.get(&at) {
            return Ok(known);
        }
        let id = self.target.read_u64(Addr(at.wrapping_add(offset.into())))?;
        self.bubbles.insert(at, id);
        Ok(id)
    }

    /// The ancestors behind `g.ancestors`: a pointer to a slice of {pcs, goid, gopc}.
    pub(super) fn ancestors(
        &mut self,
        at: u64,
        symbolizer: &mut Symbolizer,
        pool: &mut SymbolPool,
    ) -> Result<Option<AncestorsId>, ReadError> {
        if let Some(&known) = self.ancestors.get(&at) {
            return Ok(known);
        }
        let id = self.read_ancestors(at, symbolizer, pool)?;
        self.ancestors.insert(at, id);
        Ok(id)
    }

    fn read_ancestors(
        &self,
        at: u64,
        symbolizer: &mut Symbolizer,
        pool: &mut SymbolPool,
    ) -> Result<Option<AncestorsId>, ReadError> {
        const ANCESTOR: usize = 40;
        let Some(list) = self.slice_of(at, ANCESTOR, MAX_ANCESTORS)? else { return Ok(None) };
        let mut ancestors = Vec::new();
        for one in list.chunks_exact(ANCESTOR) {
            let (Some(data), Some(len), Some(id), Some(gopc)) =
                (one.u64_at(0), one.u64_at(8), one.u64_at(24), one.u64_at(32))
            else {
                return Ok(None);
            };
            let Some(len) = usize::try_from(len).ok().filter(|&len| len <= MAX_ANCESTOR_FRAMES) else {
                return Ok(None);
            };
            let Some(pcs) = self.target.read_vec(Addr(data), len * 8)? else { return Ok(None) };
            // The runtime keeps one program counter for each logical frame.
            let frames = pcs.chunks_exact(8).filter_map(|pc| symbolizer.call_site(pool, pc.u64_at(0)?)).collect();
            ancestors.push(Ancestor { id: Goid(id), frames, creator: symbolizer.creator(pool, Addr(gopc)) });
        }
        Ok((!ancestors.is_empty()).then(|| pool.intern_ancestors(ancestors)))
    }

    /// The elements of the slice whose header is at `at`.
    fn slice_of(&self, at: u64, element: usize, limit: usize) -> Result<Option<Vec<u8>>, ReadError> {
        let Some(header) = self.target.read_array::<24>(Addr(at))? else { return Ok(None) };
        let (Some(data), Some(len)) = (header.u64_at(0), header.u64_at(8)) else { return Ok(None) };
        let Some(len) = usize::try_from(len).ok().filter(|&len| len <= limit) else { return Ok(None) };
        self.target.read_vec(Addr(data), len * element)
    }
}
