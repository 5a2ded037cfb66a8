use super::*;
use crate::addr::Arch;
use crate::process::fake::FakeTarget;
use crate::runtime::layout::checked_in;
use crate::runtime::mirror::mprof::MEM_PROFILE;

const BASE: u64 = 0xc000_0000;

fn layout() -> BucketLayout {
    BucketLayout::resolve(&checked_in(26, Arch::Amd64).unwrap()).unwrap()
}

/// Memory with buckets in it.
struct Memory(Vec<u8>);

impl Memory {
    fn word(&mut self, at: usize, value: u64) {
        self.0[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }

    /// A bucket of objects of 48 bytes at `at`, with these return addresses and a record of 8 bytes.
    fn bucket(&mut self, at: usize, next: u64, pcs: &[u64], record: u64) {
        let layout = layout();
        self.word(at + layout.all_next as usize, next);
        self.word(at + layout.kind as usize, MEM_PROFILE);
        self.word(at + layout.object_size as usize, 48);
        self.word(at + layout.depth as usize, pcs.len() as u64);
        let stack = at + layout.size as usize;
        for (index, pc) in pcs.iter().enumerate() {
            self.word(stack + 8 * index, *pc);
        }
        self.word(stack + 8 * pcs.len(), record);
    }

    fn walk(self) -> (FakeTarget, Sites) {
        let target = FakeTarget::new(Arch::Amd64).with_segment(Addr(BASE), self.0);
        let sites = Sites::walk(&target, Addr(BASE), MEM_PROFILE, &layout()).unwrap();
        (target, sites)
    }
}

fn two() -> Memory {
    let mut memory = Memory(vec![0; 0x2000]);
    memory.bucket(0, BASE + 0x1000, &[0x40_1000, 0x40_2000], 7);
    memory.bucket(0x1000, 0, &[0x40_3000], 9);
    memory
}

#[test]
fn a_list_is_followed_and_its_records_read() {
    let (target, sites) = two().walk();
    assert!(!sites.incomplete);
    let pcs: Vec<_> = sites.sites.iter().map(|site| site.pcs.clone()).collect();
    assert_eq!(pcs, [vec![Addr(0x40_1000), Addr(0x40_2000)], vec![Addr(0x40_3000)]]);
    let (records, moving) =
        sites.records(&target, 8, |site, bytes| Some((site.bucket.depth, bytes.u64_at(0)?))).unwrap();
    assert_eq!((records, moving), (vec![Some((2, 7)), Some((1, 9))], 0));
}

#[test]
fn lists_that_lie_end() {
    // In a circle.
    let mut memory = two();
    memory.bucket(0x1000, BASE, &[1], 0);
    let (_, sites) = memory.walk();
    assert!(sites.incomplete && sites.sites.len() == 2);
    // At another kind, at a stack that is too deep, at one that is not all there, at no address.
    let layout = layout();
    for (field, value) in [(layout.kind, 2), (layout.depth, 1025), (layout.depth, 1000), (layout.all_next, 0x13)] {
        let mut memory = two();
        memory.word(0x1000 + field as usize, value);
        let (_, sites) = memory.walk();
        assert!(sites.incomplete, "{field} {value:#x}");
        assert_eq!(sites.sites.len(), if field == layout.all_next { 2 } else { 1 });
    }
    // Where nothing is.
    let mut memory = two();
    memory.word(layout.all_next as usize, 0xdead_0000);
    let (_, sites) = memory.walk();
    assert!(sites.incomplete && sites.sites.len() == 1);
}

#[test]
fn a_record_that_never_rests_is_counted() {
    let (target, sites) = two().walk();
    let reads = std::cell::Cell::new(0);
    let (records, moving) = sites
        .records(&target, 8, |site, _| {
            reads.set(reads.get() + 1);
            // The second one is never the same twice.
            Some(if site.bucket.depth == 1 { reads.get() } else { 0 })
        })
        .unwrap();
    assert_eq!(moving, 1);
    assert_eq!(records, [Some(0), Some(reads.get())]);
    assert_eq!(reads.get(), 2 + 2 + (TRIES - 1));
}
