//! The pprof labels of many goroutines.
//!
//! They never change once a goroutine has them, so they are read without a stop; but a goroutine may have
//! dropped them by now, and its memory may be anything. Therefore everything is bounded, and malformed labels
//! are distinguished from none.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::addr::Addr;
use crate::bytes::FieldsExt as _;
use crate::process::{MemRange, ReadError, Target};
use crate::runtime::frontier::{Budget, Found, Frontier, in_batches};
use crate::runtime::mirror::Span;
use crate::runtime::mirror::labels::{self, Bucket, Hmap, HmapLayout, LABEL, LabelForm, Pair};

/// Most labels of one goroutine that are read.
const MAX_LABELS: u64 = 1024;
/// Longest key or value that is read whole, bytes.
const MAX_TEXT: u64 = 16 * 1024;
/// Most buckets of one label map, overflow ones included.
const MAX_BUCKETS: u64 = 4096;

/// How much is read together. The largest set that is read fits in: twice [`MAX_LABELS`] times
/// [`MAX_TEXT`] bytes, or [`MAX_BUCKETS`] buckets, and half as much again.
const BUDGET: Budget = Budget { objects: 1 << 20, bytes: 64 << 20, depth: 128 };
/// Most bytes that are read for the labels of all goroutines of one capture.
const TOTAL: u64 = 1 << 30;

/// The result of reading one set of labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Labels {
    /// Keys and values, sorted; none for an empty set.
    Known(Vec<(String, String)>),
    /// The data are malformed.
    Malformed,
    /// It was not read: there are too many of them.
    NotRead,
}

/// Reads the labels at each of `sets`, which are the distinct values of `g.labels`, and hands them over with
/// `each`. The number of system calls depends on how many bytes there are, and hardly on how many sets.
///
/// # Errors
/// When the target could not be read.
pub(crate) fn read_labels(
    target: &dyn Target,
    form: &LabelForm,
    sets: &[Addr],
    each: impl FnMut(Addr, Labels),
) -> Result<(), ReadError> {
    read_within(target, form, sets, TOTAL, each)
}

/// [`read_labels`], with as many bytes at most, read and handed over.
fn read_within(
    target: &dyn Target,
    form: &LabelForm,
    sets: &[Addr],
    total: u64,
    mut each: impl FnMut(Addr, Labels),
) -> Result<(), ReadError> {
    // Sets may share their strings, so that there is more to hand over than was read.
    let mut left = total;
    let read = |frontier: &mut Frontier<'_>, batch: &[Addr]| {
        let pairs = match form {
            LabelForm::List => lists(frontier, batch)?,
            LabelForm::Map(layout) => maps(frontier, batch, layout)?,
        };
        let texts = texts(frontier, pairs.iter().flatten().flatten().flatten())?;
        Ok((pairs, texts))
    };
    in_batches(target, sets, (BUDGET, total), read, |batch, result| match result {
        Some((pairs, texts)) => {
            for (set, pairs) in batch.iter().zip(pairs) {
                let len = pairs
                    .iter()
                    .flatten()
                    .flatten()
                    .fold(0_u64, |sum, text| sum.saturating_add(text.len.min(MAX_TEXT)));
                let words = match left.checked_sub(len) {
                    Some(after) => {
                        left = after;
                        pairs.and_then(|pairs| in_words(&pairs, &texts)).map_or(Labels::Malformed, Labels::Known)
                    }
                    None => Labels::NotRead,
                };
                each(*set, words);
            }
        }
        None => batch.iter().for_each(|set| each(*set, Labels::NotRead)),
    })
}

/// Where the labels of each of `sets` are; `None` for a malformed one.
type Places = Vec<Option<Vec<Pair>>>;

/// Of versions in which they are slices.
fn lists(frontier: &mut Frontier<'_>, sets: &[Addr]) -> Result<Places, ReadError> {
    let mut arrays: FxHashMap<Addr, MemRange> = FxHashMap::default();
    let headers = sets.iter().map(|&start| MemRange { start, len: Span::SLICE as usize });
    frontier.ranges(headers, |header, bytes| {
        let array = bytes.u64_at(0).zip(bytes.u64_at(8)).filter(|(_, len)| *len <= MAX_LABELS);
        let range = array.and_then(|(data, len)| {
            Some(MemRange { start: Addr(data), len: usize::try_from(len).ok()?.checked_mul(LABEL)? })
        });
        arrays.extend(range.map(|range| (header.start, range)));
    })?;
    let mut found: FxHashMap<(Addr, usize), Vec<Pair>> = FxHashMap::default();
    frontier.ranges(arrays.values().copied(), |range, bytes| {
        found.insert((range.start, range.len), labels::list(bytes).collect());
    })?;
    let place = |set: &Addr| {
        let array = arrays.get(set)?;
        if array.len == 0 { Some(Vec::new()) } else { found.get(&(array.start, array.len)).cloned() }
    };
    Ok(sets.iter().map(place).collect())
}

/// Of versions in which they are maps.
fn maps(frontier: &mut Frontier<'_>, sets: &[Addr], layout: &HmapLayout) -> Result<Places, ReadError> {
    let pointers = frontier.words(sets.iter().copied())?;
    let headers = frontier.mirrors::<Hmap>(layout, pointers.values().copied().map(Addr))?;
    let firsts: Vec<Addr> = pointers
        .values()
        .filter_map(|map| first_buckets(headers.get(Addr(*map))?))
        .flatten()
        .collect::<FxHashSet<Addr>>()
        .into_iter()
        .collect();
    let mut buckets = Found::<Bucket>::default();
    frontier.chase(&(), firsts, &mut buckets, |bucket| Some(Addr(bucket.overflow)))?;
    let place = |set: &Addr| match *pointers.get(set)? {
        0 => Some(Vec::new()),
        map => entries(headers.get(Addr(map))?, &buckets),
    };
    Ok(sets.iter().map(place).collect())
}

/// Addresses of the buckets of a map, without those that they overflow to. While it grows, what has not
/// moved yet is in the old ones. `None` when they are too many.
fn first_buckets(map: &Hmap) -> Option<Vec<Addr>> {
    let (now, before) = (map.bucket_count()?, map.old_bucket_count()?);
    if now.checked_add(before)? > MAX_BUCKETS || map.count > MAX_LABELS {
        return None;
    }
    let array = |first: u64, count: u64| (0..count).map(move |n| Addr(first.wrapping_add(n * Bucket::SIZE as u64)));
    Some(array(map.buckets, now).chain(array(map.old_buckets, before)).collect())
}

/// The entries of a map. What is not a map does not have as many as its count says.
fn entries(map: &Hmap, buckets: &Found<Bucket>) -> Option<Vec<Pair>> {
    let (mut pairs, mut left) = (Vec::new(), MAX_BUCKETS);
    for first in first_buckets(map)? {
        let mut next = first;
        while !next.is_nil() {
            left = left.checked_sub(1)?;
            let bucket = buckets.get(next)?;
            pairs.extend_from_slice(&bucket.pairs);
            next = Addr(bucket.overflow);
        }
    }
    (pairs.len() as u64 == map.count).then_some(pairs)
}

/// The texts of strings; those that are too long or cannot be read are not among them.
fn texts<'s>(
    frontier: &mut Frontier<'_>,
    strings: impl Iterator<Item = &'s Span>,
) -> Result<FxHashMap<Span, String>, ReadError> {
    let mut texts = FxHashMap::default();
    let readable = strings.filter(|string| string.len != 0 && string.len <= MAX_TEXT);
    let ranges: FxHashSet<Span> = readable.copied().collect();
    let ranges = ranges
        .into_iter()
        .filter_map(|string| Some(MemRange { start: Addr(string.data), len: usize::try_from(string.len).ok()? }));
    frontier.ranges(ranges, |range, bytes| {
        let string = Span { data: range.start.0, len: range.len as u64 };
        texts.insert(string, String::from_utf8_lossy(bytes).into_owned());
    })?;
    Ok(texts)
}

/// Keys and values as texts, sorted. `None` where one could not be read.
fn in_words(pairs: &[Pair], texts: &FxHashMap<Span, String>) -> Option<Vec<(String, String)>> {
    let text = |string: &Span| if string.len == 0 { Some(String::new()) } else { texts.get(string).cloned() };
    let mut words: Vec<(String, String)> =
        pairs.iter().map(|[key, value]| Some((text(key)?, text(value)?))).collect::<Option<_>>()?;
    words.sort();
    Some(words)
}

#[cfg(test)]
#[path = "labels_tests.rs"]
mod tests;
