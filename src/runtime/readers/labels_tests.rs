use std::collections::BTreeMap;

use super::*;
use crate::addr::Arch;
use crate::process::TargetExt as _;
use crate::process::fake::FakeTarget;
use crate::runtime::layout::{Layout, checked_in};

const HEAP: u64 = 0xc000_0000;

/// Objects one after the other, each as far from the last as small objects of a heap are that others use too.
#[derive(Default)]
struct Heap(Vec<u8>);

impl Heap {
    fn put(&mut self, bytes: &[u8]) -> u64 {
        let at = HEAP + self.0.len() as u64;
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(64), 0xdb);
        at
    }

    fn words(&mut self, words: &[u64]) -> u64 {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.put(&bytes)
    }

    fn string(&mut self, text: &str) -> [u64; 2] {
        [self.put(text.as_bytes()), text.len() as u64]
    }

    /// `labelMap{LabelSet{list []label}}` of Go 1.24 on.
    fn list(&mut self, labels: &[(&str, &str)]) -> u64 {
        let strings: Vec<u64> =
            labels.iter().flat_map(|(key, value)| [self.string(key), self.string(value)].concat()).collect();
        let array = self.words(&strings);
        self.words(&[array, labels.len() as u64, labels.len() as u64])
    }

    /// A bucket of a map, by the source of runtime/map.go.
    fn bucket(&mut self, labels: &[(&str, &str)], overflow: u64) -> Vec<u8> {
        let mut bytes = vec![0; 272];
        for (slot, (key, value)) in labels.iter().enumerate() {
            bytes[slot] = 5 + slot as u8;
            for (first, text) in [(8, key), (136, value)] {
                let [data, len] = self.string(text);
                bytes[first + 16 * slot..][..8].copy_from_slice(&data.to_le_bytes());
                bytes[first + 16 * slot + 8..][..8].copy_from_slice(&len.to_le_bytes());
            }
        }
        bytes[264..].copy_from_slice(&overflow.to_le_bytes());
        bytes
    }

    /// `*map[string]string` up to Go 1.23: hmap{count, flags, B, noverflow, hash0, buckets, oldbuckets}.
    fn map(&mut self, count: u64, log: u8, flags: u8, buckets: u64, old: u64) -> u64 {
        let word = u64::from(flags) | u64::from(log) << 8;
        let map = self.words(&[count, word, buckets, old, 0, 0]);
        self.words(&[map])
    }

    /// A map that has not grown.
    fn small_map(&mut self, labels: &[(&str, &str)]) -> u64 {
        let more: Vec<_> = labels.iter().skip(8).copied().collect();
        let overflow = if more.is_empty() {
            0
        } else {
            let bytes = self.bucket(&more, 0);
            self.put(&bytes)
        };
        let first = self.bucket(&labels[..labels.len().min(8)], overflow);
        let buckets = self.put(&first);
        self.map(labels.len() as u64, 0, 0, buckets, 0)
    }

    fn target(&self) -> FakeTarget {
        FakeTarget::new(Arch::Amd64).with_segment(Addr(HEAP), self.0.clone())
    }
}

fn form(minor: u32) -> LabelForm {
    let layout = Layout::resolve(checked_in(minor, Arch::Amd64).unwrap()).unwrap();
    LabelForm::of(minor, layout.hmap).unwrap()
}

fn read(target: &FakeTarget, minor: u32, sets: &[u64]) -> BTreeMap<u64, Labels> {
    let (mut all, sets) = (BTreeMap::new(), sets.iter().copied().map(Addr).collect::<Vec<_>>());
    read_labels(target, &form(minor), &sets, |set, labels| {
        assert_eq!(all.insert(set.0, labels), None);
    })
    .unwrap();
    assert_eq!(all.len(), sets.len());
    all
}

fn known(labels: &[(&str, &str)]) -> Labels {
    let mut pairs: Vec<_> = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    pairs.sort();
    Labels::Known(pairs)
}

/// System calls and bytes that it takes to read so many sets of two labels each, all different.
fn cost(minor: u32, sets: usize) -> (u64, u64) {
    let mut heap = Heap::default();
    let texts: Vec<String> = (0..sets).map(|n| format!("request-{n}")).collect();
    let labels: Vec<[(&str, &str); 2]> =
        texts.iter().map(|text| [("request", text.as_str()), ("tenant", "a")]).collect();
    let make = |labels: &[(&str, &str); 2]| {
        if minor >= 24 { heap.list(labels) } else { heap.small_map(labels) }
    };
    let addrs: Vec<u64> = labels.iter().map(make).collect();
    let target = heap.target();
    let all = read(&target, minor, &addrs);
    for (addr, labels) in addrs.iter().zip(&labels) {
        assert_eq!(all[addr], known(labels));
    }
    let stats = target.stats();
    (stats.syscalls, stats.bytes)
}

/// Read one by one, each set costs six calls or more.
#[test]
fn calls_do_not_grow_with_the_number_of_sets() {
    for minor in [19, 23, 24, 27] {
        let (one, few, many) = (cost(minor, 1), cost(minor, 100), cost(minor, 10_000));
        assert_eq!(few.0, one.0, "1.{minor}: as many for a hundred as for one");
        // Only by chunk, and by batch.
        let chunks = many.1.div_ceil(MAX_CHUNK);
        assert!(many.0 <= 2 * one.0 + chunks, "1.{minor}: {} calls for {} bytes, {one:?} for one", many.0, many.1);
        println!("1.{minor}: {} calls for 1 set, {} for 10,000 of {} bytes", one.0, many.0, many.1);
    }
}

const MAX_CHUNK: u64 = crate::runtime::frontier::CHUNK_BYTES as u64;

#[test]
fn every_form_of_labels() {
    let nine: Vec<(String, String)> = (0..9).map(|n| (format!("key {n}"), format!("värde {n}"))).collect();
    let nine: Vec<(&str, &str)> = nine.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let cases: [&[(&str, &str)]; 4] = [&[], &[("a", "b")], &[("empty", ""), ("", "empty")], &nine];
    for minor in [21, 26] {
        let mut heap = Heap::default();
        let sets = cases.map(|labels| if minor == 26 { heap.list(labels) } else { heap.small_map(labels) });
        let nil = heap.words(&[0, 0, 0]);
        let target = heap.target();
        let all = read(&target, minor, &[&sets[..], &[nil]].concat());
        for (set, labels) in sets.iter().zip(cases) {
            assert_eq!(all[set], known(labels), "1.{minor}");
        }
        assert_eq!(all[&nil], known(&[]), "1.{minor}: a nil map, and a nil slice");
    }
}

/// Some entries have moved to the new array, and others are in the old one still (`evacuate` in map.go).
#[test]
fn a_map_that_grows_has_entries_in_two_arrays() {
    /// `evacuatedX`: the entry is in the first half of the new array.
    const MOVED: u8 = 2;
    for same_size in [false, true] {
        let mut heap = Heap::default();
        let mut moved = heap.bucket(&[("a", "1")], 0);
        moved[0] = MOVED;
        let old = [moved, heap.bucket(&[("b", "2")], 0)].concat();
        let old = heap.put(&old);
        let mut new = heap.bucket(&[("a", "1")], 0);
        new.resize(272 * if same_size { 2 } else { 4 }, 0);
        let new = heap.put(&new);
        let set = heap.map(2, if same_size { 1 } else { 2 }, u8::from(same_size) * 8, new, old);
        assert_eq!(read(&heap.target(), 22, &[set])[&set], known(&[("a", "1"), ("b", "2")]), "{same_size}");
    }
}

#[test]
fn malformed_sets_affect_no_other() {
    const NOWHERE: u64 = 0x10;
    for minor in [23, 27] {
        let mut heap = Heap::default();
        let good = if minor == 27 { heap.list(&[("a", "b")]) } else { heap.small_map(&[("a", "b")]) };
        let mut malformed = vec![NOWHERE];
        if minor == 27 {
            let array = heap.words(&[NOWHERE, 1, NOWHERE, 1]);
            malformed.extend([
                heap.words(&[array, 1, 1]),
                heap.words(&[NOWHERE, 1, 1]),
                heap.words(&[array, MAX_LABELS + 1, MAX_LABELS + 1]),
                heap.words(&[array, u64::MAX, u64::MAX]),
            ]);
            let long = heap.words(&[HEAP, MAX_TEXT + 1, HEAP, 1]);
            malformed.push(heap.words(&[long, 1, 1]));
        } else {
            let bucket = heap.bucket(&[("a", "b")], 0);
            let bucket = heap.put(&bucket);
            let overflow = heap.bucket(&[("a", "b")], NOWHERE);
            let overflow = heap.put(&overflow);
            malformed.extend([
                heap.words(&[NOWHERE]),
                heap.map(2, 0, 0, bucket, 0),
                heap.map(1, 0, 0, NOWHERE, 0),
                heap.map(1, 0, 0, overflow, 0),
                heap.map(1, 63, 0, bucket, 0),
                heap.map(1, 255, 0, bucket, 0),
                heap.map(1, 13, 0, bucket, 0),
                heap.map(u64::MAX, 0, 0, bucket, 0),
                heap.map(1, 0, 0, bucket, NOWHERE),
            ]);
        }
        malformed.sort_unstable();
        let target = heap.target();
        let all = read(&target, minor, &[&malformed[..], &[good]].concat());
        assert_eq!(all[&good], known(&[("a", "b")]), "1.{minor}");
        // The last one has no old array in truth: with a B of 0 that is half a bucket, none.
        let wrong: Vec<_> = malformed.iter().filter(|set| all[set] != Labels::Malformed).collect();
        assert!(wrong.len() <= usize::from(minor == 23), "1.{minor}: {wrong:?}");
    }
}

/// A bucket that overflows to itself, and a chain without end.
#[test]
fn a_map_that_leads_in_a_circle_ends() {
    let mut heap = Heap::default();
    let bucket = heap.bucket(&[("a", "b")], 0);
    let at = heap.put(&bucket);
    let set = heap.map(1, 0, 0, at, 0);
    let mut chain = 0;
    for _ in 0..2 * BUDGET.depth {
        let bytes = heap.bucket(&[("a", "b")], chain);
        chain = heap.put(&bytes);
    }
    let long = heap.map(2, 0, 0, chain, 0);
    let target = heap.target();
    target.memory(|memory| memory.put_u64(Addr(at + 264), at));
    let good = target.read_u64(Addr(set)).unwrap();
    assert!(good.is_some());
    let all = read(&target, 22, &[set, long]);
    assert_eq!((&all[&set], &all[&long]), (&Labels::Malformed, &Labels::NotRead));
}

/// A million goroutines cannot make gospy read without end, nor hold it all.
#[test]
fn all_sets_together_are_bounded() {
    let mut heap = Heap::default();
    let text = "x".repeat(1000);
    let [data, len] = heap.string(&text);
    // Ten sets with the same strings, and ten with strings of their own.
    let sets: Vec<u64> = (0..20_u64)
        .map(|n| {
            let own = n.saturating_sub(9);
            let strings: Vec<u64> = (0..200).flat_map(|m| [data + own, len - 300 - m]).collect();
            let array = heap.words(&strings);
            heap.words(&[array, 100, 100])
        })
        .collect();
    let target = heap.target();
    let addrs: Vec<Addr> = sets.iter().copied().map(Addr).collect();
    let known = |total: u64| {
        let mut known = Vec::new();
        read_within(&target, &form(26), &addrs, total, |set, labels| match labels {
            Labels::Known(pairs) => known.push((set, pairs.len())),
            labels => assert_eq!(labels, Labels::NotRead),
        })
        .unwrap();
        assert!(known.iter().all(|(_, pairs)| *pairs == 100));
        known.len()
    };
    // A set has some 120,000 bytes.
    assert_eq!((known(TOTAL), known(0), known(1 << 20)), (20, 0, 0));
    let some = known(2 << 20);
    assert!((9..20).contains(&some), "{some}");
}
