//! The types of package sync that goroutines wait on.
//!
//! They are found by their semaphores, so that what is needed of each is how far that is from its beginning.

use crate::bytes::FieldsExt as _;
use crate::model::wait::{MutexState, RwMutexState};
use crate::runtime::layout::LayoutTable;
use crate::runtime::layout::wanted::check_all;

const _: () = {
    check_all("sync.Mutex", &["mu", "state", "sema"]);
    check_all("internal/sync.Mutex", &["state", "sema"]);
    check_all("sync.RWMutex", &["w", "writerSem", "readerSem", "readerCount", "readerWait"]);
    check_all("sync.WaitGroup", &["state", "state1", "state2", "sema"]);
    check_all("sync.Cond", &["notify"]);
};

/// Where the fields of a `sync.Mutex` are (sync/mutex.go; internal/sync/mutex.go from 1.24 on).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MutexLayout {
    /// `state`.
    pub state: u32,
    /// `sema`.
    pub sema: u32,
}

/// Where the fields of a `sync.RWMutex` are (sync/rwmutex.go).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RwMutexLayout {
    /// `w`, which writers lock first.
    pub w: u32,
    /// `writerSem`: writers wait there for readers.
    pub writer_sem: u32,
    /// `readerSem`: readers wait there for a writer.
    pub reader_sem: u32,
    /// `readerCount`.
    pub reader_count: u32,
    /// `readerWait`.
    pub reader_wait: u32,
}

/// Where the fields of a `sync.WaitGroup` are (sync/waitgroup.go).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitGroupLayout {
    /// `state`, or `state1` up to 1.19: the counter, and below it how many wait.
    pub state: u32,
    /// `sema`, or `state2` up to 1.19.
    pub sema: u32,
}

/// Where the fields of the types of package sync are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncLayout {
    /// Of a `Mutex`.
    pub mutex: MutexLayout,
    /// Of an `RWMutex`.
    pub rw_mutex: RwMutexLayout,
    /// Of a `WaitGroup`.
    pub wait_group: WaitGroupLayout,
    /// Of a `Cond`: `notify`.
    pub cond_notify: u32,
}

/// `readerCount` less this while a writer has the lock, or waits for it (`rwmutexMaxReaders`).
const MAX_READERS: i32 = 1 << 30;

impl SyncLayout {
    /// Takes the offsets out of `table`; `None` where it lacks one, as that of a program without package sync
    /// does.
    #[must_use]
    pub fn resolve(table: &LayoutTable) -> Option<Self> {
        let mutex = match table.offset("sync.Mutex", "mu") {
            Some(mu) => MutexLayout {
                state: mu.checked_add(table.offset("internal/sync.Mutex", "state")?)?,
                sema: mu.checked_add(table.offset("internal/sync.Mutex", "sema")?)?,
            },
            None => {
                MutexLayout { state: table.offset("sync.Mutex", "state")?, sema: table.offset("sync.Mutex", "sema")? }
            }
        };
        let rw = |field| table.offset("sync.RWMutex", field);
        let group = |fields: [&str; 2]| fields.into_iter().find_map(|field| table.offset("sync.WaitGroup", field));
        Some(Self {
            mutex,
            rw_mutex: RwMutexLayout {
                w: rw("w")?,
                writer_sem: rw("writerSem")?,
                reader_sem: rw("readerSem")?,
                reader_count: rw("readerCount")?,
                reader_wait: rw("readerWait")?,
            },
            wait_group: WaitGroupLayout { state: group(["state", "state1"])?, sema: group(["sema", "state2"])? },
            cond_notify: table.offset("sync.Cond", "notify")?,
        })
    }
}

impl MutexLayout {
    /// Takes a mutex at `at` in `bytes` apart. `None` when there are too few.
    #[must_use]
    pub fn parse(&self, bytes: &[u8], at: u32) -> Option<MutexState> {
        // `mutexLocked`, `mutexWoken`, `mutexStarving`, `mutexWaiterShift`; 1.9 to 1.27.
        let state = bytes.u32_at(at.checked_add(self.state)? as usize)?;
        Some(MutexState { locked: state & 1 != 0, starving: state & 4 != 0, waiters: state >> 3 })
    }
}

impl RwMutexLayout {
    /// Takes the bytes of an `RWMutex` apart, except for how many readers wait. `None` when there are too few.
    #[must_use]
    pub fn parse(&self, bytes: &[u8], mutex: &MutexLayout) -> Option<RwMutexState> {
        let count = bytes.i32_at(self.reader_count as usize)?;
        let leaving = bytes.i32_at(self.reader_wait as usize)?.max(0);
        let writer_pending = count < 0;
        // With a writer there, `readerCount` counts those that wait too, and `readerWait` those that it
        // waits for.
        let readers = if writer_pending { leaving } else { count };
        let waiting = if writer_pending { count.saturating_add(MAX_READERS).saturating_sub(leaving) } else { 0 };
        Some(RwMutexState {
            writers: mutex.parse(bytes, self.w)?,
            writer_pending,
            readers: u32::try_from(readers).unwrap_or(0),
            waiting_readers: u32::try_from(waiting).unwrap_or(0),
        })
    }
}

impl WaitGroupLayout {
    /// The counter of a `WaitGroup`, and how many wait for it. `None` when there are too few bytes.
    #[must_use]
    pub fn parse(&self, bytes: &[u8], minor: u32) -> Option<(i32, u32)> {
        /// `waitGroupBubbleFlag` (1.25 on): the group belongs to a synctest bubble.
        const BUBBLE: u32 = 1 << 31;
        let state = bytes.u64_at(self.state as usize)?;
        let (counter, waiters) = ((state >> 32) as u32, state as u32);
        Some((counter.cast_signed(), if minor >= 25 { waiters & !BUBBLE } else { waiters }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Arch;
    use crate::runtime::layout::{SUPPORTED_MINORS, checked_in};

    fn layout() -> SyncLayout {
        SyncLayout::resolve(&checked_in(26, Arch::Amd64).unwrap()).unwrap()
    }

    #[test]
    fn every_table_has_them() {
        for minor in SUPPORTED_MINORS {
            let sync = SyncLayout::resolve(&checked_in(*minor, Arch::Arm64).unwrap()).unwrap();
            assert_eq!((sync.mutex.sema, sync.wait_group.sema, sync.cond_notify), (4, 8, 16), "1.{minor}");
        }
    }

    fn rw_mutex(count: i32, leaving: i32) -> RwMutexState {
        let words = [9_u32, 0, 0, 0, count.cast_unsigned(), leaving.cast_unsigned()];
        let bytes: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
        let layout = layout();
        layout.rw_mutex.parse(&bytes, &layout.mutex).unwrap()
    }

    #[test]
    fn readers_that_hold_and_that_wait() {
        let of = |count, leaving| {
            let state = rw_mutex(count, leaving);
            (state.writer_pending, state.readers, state.waiting_readers)
        };
        assert_eq!(of(3, 0), (false, 3, 0));
        // A writer waits for two of them, and four more wait for the writer.
        assert_eq!(of(6 - MAX_READERS, 2), (true, 2, 4));
        // It has the lock.
        assert_eq!(of(1 - MAX_READERS, 0), (true, 0, 1));
        // What no program writes there.
        assert_eq!(of(i32::MIN, i32::MIN), (true, 0, 0));
        assert_eq!(of(i32::MAX, i32::MAX), (false, i32::MAX.cast_unsigned(), 0));
        assert_eq!(rw_mutex(0, 0).writers, MutexState { locked: true, starving: false, waiters: 1 });
    }

    #[test]
    fn counters_of_groups() {
        let state = (3_u64 << 32 | 1 << 31 | 2).to_le_bytes();
        assert_eq!(layout().wait_group.parse(&state, 26), Some((3, 2)));
        assert_eq!(layout().wait_group.parse(&state, 24), Some((3, 1 << 31 | 2)));
        assert_eq!(layout().wait_group.parse(&state[..7], 26), None);
    }
}
