//! What changes from one list of records to the next.
//!
//! A script is a row of steps along the old list: a varint with how many elements and, in its two lowest bits,
//! what becomes of them (0 they stay, 1 they are left out, 2 so many new ones come here, 3 so many are replaced).
//! New elements follow their step, each with its length. A zero ends the script; what is left of the old list
//! stays. So an unchanged list is one byte, and an element that is the same costs nothing.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::room::Held;
use super::{Malformed, push_varint, take_varint};

/// By what elements of two lists are known to be the same thing; lists are in this order.
pub(super) type Key = (u64, u64);

const STAY: u64 = 0;
const LEAVE: u64 = 1;
const NEW: u64 = 2;
const REPLACE: u64 = 3;

/// A list of encoded records, each with its key.
#[derive(Debug, Default)]
struct Encoded {
    bytes: Vec<u8>,
    /// Where each one ends.
    ends: Vec<(Key, usize)>,
}

impl Encoded {
    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    fn get(&self, index: usize) -> Option<(Key, &[u8])> {
        let (key, end) = *self.ends.get(index)?;
        let start = index.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |(_, end)| *end);
        Some((key, self.bytes.get(start..end)?))
    }
}

/// A list as it was last written, and as it will be.
#[derive(Debug, Default)]
pub(super) struct Differ {
    last: Encoded,
    next: Encoded,
}

impl Differ {
    /// Forgets what was written: the next list is written whole.
    pub(super) fn reset(&mut self) {
        self.last.clear();
    }

    /// Adds the next record of the list that comes.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub(super) fn push(&mut self, key: Key, record: &impl Serialize) -> Result<(), postcard::Error> {
        let bytes = std::mem::take(&mut self.next.bytes);
        self.next.bytes = postcard::to_extend(record, bytes)?;
        self.next.ends.push((key, self.next.bytes.len()));
        Ok(())
    }

    /// How long the list that comes is, encoded, bytes.
    pub(super) fn size(&self) -> usize {
        self.next.bytes.len()
    }

    /// How many records it has.
    pub(super) fn len(&self) -> usize {
        self.next.ends.len()
    }

    /// Drops what was added since the last script.
    pub(super) fn abandon(&mut self) {
        self.next.clear();
    }

    /// Writes the script from the last list to the one that was added.
    pub(super) fn write(&mut self, out: &mut Vec<u8>) {
        let mut steps = Steps { out, run: (STAY, 0), records: Vec::new() };
        let (mut old, mut new) = (0, 0);
        loop {
            match (self.last.get(old), self.next.get(new)) {
                (None, None) => break,
                (Some((was, before)), Some((is, now))) if was == is => {
                    match before == now {
                        true => steps.step(STAY, None),
                        false => steps.step(REPLACE, Some(now)),
                    }
                    (old, new) = (old + 1, new + 1);
                }
                (Some((was, _)), is) if is.is_none_or(|(is, _)| was < is) => {
                    steps.step(LEAVE, None);
                    old += 1;
                }
                (_, now) => {
                    steps.step(NEW, now.map(|(_, now)| now));
                    new += 1;
                }
            }
        }
        steps.finish();
        std::mem::swap(&mut self.last, &mut self.next);
        self.next.clear();
    }
}

struct Steps<'o> {
    out: &'o mut Vec<u8>,
    /// What becomes of how many.
    run: (u64, u64),
    records: Vec<u8>,
}

impl Steps<'_> {
    fn step(&mut self, what: u64, record: Option<&[u8]>) {
        if self.run.0 != what {
            self.flush();
            self.run = (what, 0);
        }
        self.run.1 += 1;
        if let Some(record) = record {
            push_varint(&mut self.records, record.len() as u64);
            self.records.extend(record);
        }
    }

    fn flush(&mut self) {
        if self.run.1 > 0 {
            push_varint(self.out, self.run.1 << 2 | self.run.0);
            self.out.append(&mut self.records);
        }
    }

    fn finish(mut self) {
        if self.run.0 != STAY {
            self.flush();
        }
        self.out.push(0);
    }
}

/// A list that scripts are applied to.
#[derive(Debug)]
pub(super) struct Patched<T> {
    /// Its elements, with the lengths of their encodings.
    elements: Vec<(T, u32)>,
    /// All of these lengths together.
    size: usize,
    /// Memory that the elements take, bytes.
    memory: usize,
}

impl<T> Default for Patched<T> {
    fn default() -> Self {
        Self { elements: Vec::new(), size: 0, memory: 0 }
    }
}

impl<T: DeserializeOwned + Held> Patched<T> {
    /// Its elements.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &T> {
        self.elements.iter().map(|(element, _)| element)
    }

    /// Memory that they take, bytes.
    pub(super) fn memory(&self) -> usize {
        self.memory
    }

    fn forget(&mut self, (element, len): &(T, u32)) {
        self.size = self.size.saturating_sub(*len as usize);
        self.memory = self.memory.saturating_sub(element.takes(*len as usize));
    }

    /// Applies a script that is at the front of `bytes`; the encoded list may have `most` bytes, and may take `room`
    /// bytes of memory.
    ///
    /// # Errors
    /// When the script or an element is malformed, or the list gets too long; the list is lost then.
    pub(super) fn patch(&mut self, bytes: &mut &[u8], most: usize, room: usize) -> Result<(), Malformed> {
        const SHORT: Malformed = Malformed("a sample ends too early");
        const MUCH: Malformed = Malformed("a sample takes too much memory");
        if let Some((0, rest)) = bytes.split_first() {
            *bytes = rest;
            return Ok(());
        }
        let mut old = std::mem::take(&mut self.elements).into_iter();
        loop {
            let step = take_varint(bytes).ok_or(SHORT)?;
            let (what, count) = (step & 3, step >> 2);
            if count == 0 {
                break;
            }
            match what {
                STAY | LEAVE => {
                    let count = usize::try_from(count).ok().filter(|&count| count <= old.len());
                    let some = old.by_ref().take(count.ok_or(Malformed("a sample changes what is not there"))?);
                    match what {
                        STAY => self.elements.extend(some),
                        _ => some.for_each(|element| self.forget(&element)),
                    }
                }
                _ => {
                    for _ in 0..count {
                        if what == REPLACE {
                            let element = old.next().ok_or(Malformed("a sample changes what is not there"))?;
                            self.forget(&element);
                        }
                        let len = take_varint(bytes).ok_or(SHORT)?;
                        let len = u32::try_from(len).map_err(|_| SHORT)?;
                        let (record, rest) = bytes.split_at_checked(len as usize).ok_or(SHORT)?;
                        *bytes = rest;
                        self.size = self.size.saturating_add(record.len());
                        if record.is_empty() || self.size > most {
                            return Err(Malformed("a list in a sample is too long"));
                        }
                        if self.memory.saturating_add(T::owns_at_most(record.len())) > room {
                            return Err(MUCH);
                        }
                        let element: T =
                            postcard::from_bytes(record).map_err(|_| Malformed("a record is malformed"))?;
                        self.memory = self.memory.saturating_add(element.takes(record.len()));
                        if self.memory > room {
                            return Err(MUCH);
                        }
                        self.elements.push((element, len));
                    }
                }
            }
        }
        self.elements.extend(old);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Held for (u64, u16) {}
    impl Held for (u64, String) {}
    impl Held for u64 {}
    impl Held for String {}

    fn lists() -> impl Strategy<Value = Vec<Vec<(u64, u16)>>> {
        let list = prop::collection::btree_map(0_u64..40, 0_u16..4, 0..30);
        prop::collection::vec(list.prop_map(|list| list.into_iter().collect()), 1..8)
    }

    proptest! {
        #[test]
        fn scripts_make_the_next_list_of_the_last(lists in lists()) {
            let (mut differ, mut patched) = (Differ::default(), Patched::<(u64, u16)>::default());
            for list in lists {
                for element in &list {
                    differ.push((element.0, 0), element).unwrap();
                }
                let mut script = Vec::new();
                differ.write(&mut script);
                let mut bytes = &script[..];
                patched.patch(&mut bytes, usize::MAX, usize::MAX).unwrap();
                prop_assert!(bytes.is_empty());
                prop_assert_eq!(patched.iter().copied().collect::<Vec<_>>(), list);
                let size: usize = patched.elements.iter().map(|(_, len)| *len as usize).sum();
                prop_assert_eq!(patched.size, size);
                let takes = |(element, len): &((u64, u16), u32)| element.takes(*len as usize);
                prop_assert_eq!(patched.memory, patched.elements.iter().map(takes).sum::<usize>());
            }
        }

        /// Any order gives the list, though not the shortest script.
        #[test]
        fn lists_need_not_be_in_order(a in prop::collection::vec(0_u64..20, 0..20), b in prop::collection::vec(0_u64..20, 0..20)) {
            let (mut differ, mut patched) = (Differ::default(), Patched::<u64>::default());
            for list in [a, b] {
                list.iter().for_each(|element| differ.push((*element, 0), element).unwrap());
                let mut script = Vec::new();
                differ.write(&mut script);
                patched.patch(&mut &script[..], usize::MAX, usize::MAX).unwrap();
                prop_assert_eq!(patched.iter().copied().collect::<Vec<_>>(), list);
            }
        }

        #[test]
        fn any_bytes_are_refused_or_applied(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut patched = Patched::<(u64, String)>::default();
            let _ = patched.patch(&mut &bytes[..], 1_000, usize::MAX);
            prop_assert!(patched.size <= 1_200);
        }
    }

    #[test]
    fn what_is_unchanged_is_one_byte() {
        let mut differ = Differ::default();
        let mut script = Vec::new();
        for round in 0..2 {
            (0..1_000_u64).for_each(|at| differ.push((at, 0), &at).unwrap());
            script.clear();
            differ.write(&mut script);
            assert_eq!(script.len() > 1, round == 0);
        }
        assert_eq!(script, [0]);
    }

    #[test]
    fn a_list_has_a_limit() {
        let mut differ = Differ::default();
        differ.push((1, 0), &"a long text").unwrap();
        let mut script = Vec::new();
        differ.write(&mut script);
        let patch = |most, room| Patched::<String>::default().patch(&mut &script[..], most, room);
        let takes = String::from("a long text").takes(12);
        assert!(patch(12, takes).is_ok());
        assert!(patch(11, takes).is_err());
        assert!(patch(12, takes - 1).is_err());
    }
}
