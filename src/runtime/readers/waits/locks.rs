//! The types of package sync, by their semaphores.

use crate::addr::Addr;
use crate::bytes::FieldsExt as _;
use crate::model::wait::{LockOperation, ObjectState};
use crate::process::ReadError;
use crate::runtime::frontier::Frontier;
use crate::runtime::mirror::Mirror as _;
use crate::runtime::mirror::notify_list::{NotifyList, NotifyListLayout};
use crate::runtime::mirror::sync_types::SyncLayout;

/// Which semaphore of what a goroutine waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Place {
    /// `Mutex.sema`.
    Mutex,
    /// `RWMutex.w.sema`.
    Writers,
    /// `RWMutex.writerSem`.
    WriterSem,
    /// `RWMutex.readerSem`.
    ReaderSem,
    /// `WaitGroup.sema`.
    WaitGroup,
    /// `Cond.notify`.
    Cond,
    /// Another semaphore.
    Semaphore,
}

/// What kind of a lock it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum LockKind {
    /// `sync.Mutex`.
    Mutex,
    /// `sync.RWMutex`.
    RwMutex,
    /// `sync.WaitGroup`.
    WaitGroup,
    /// `sync.Cond`.
    Cond,
    /// A semaphore.
    Semaphore,
}

impl LockKind {
    const ALL: [Self; 5] = [Self::Mutex, Self::RwMutex, Self::WaitGroup, Self::Cond, Self::Semaphore];

    /// How much of it is read, bytes: up to the last field that matters, since nothing need follow it.
    const fn size(self) -> usize {
        match self {
            Self::Mutex => 8,
            Self::RwMutex => 24,
            Self::WaitGroup => 16,
            Self::Cond => 48,
            Self::Semaphore => 4,
        }
    }
}

impl Place {
    /// Whose semaphore it is.
    #[must_use]
    pub(crate) fn kind(self) -> LockKind {
        match self {
            Self::Mutex => LockKind::Mutex,
            Self::Writers | Self::WriterSem | Self::ReaderSem => LockKind::RwMutex,
            Self::WaitGroup => LockKind::WaitGroup,
            Self::Cond => LockKind::Cond,
            Self::Semaphore => LockKind::Semaphore,
        }
    }

    /// What waits there.
    #[must_use]
    pub(crate) fn operation(self) -> LockOperation {
        match self {
            Self::Mutex | Self::Writers => LockOperation::Lock,
            Self::WriterSem => LockOperation::WaitForReaders,
            Self::ReaderSem => LockOperation::ReadLock,
            Self::WaitGroup | Self::Cond => LockOperation::Wait,
            Self::Semaphore => LockOperation::Acquire,
        }
    }

    /// Address of the whole, by that of the semaphore, or of the `notifyList`. `None` where there is none.
    #[must_use]
    pub(crate) fn base(self, layout: &SyncLayout, semaphore: u64) -> Option<u64> {
        let rw = &layout.rw_mutex;
        let offset = match self {
            Self::Mutex => layout.mutex.sema,
            Self::Writers => rw.w.checked_add(layout.mutex.sema)?,
            Self::WriterSem => rw.writer_sem,
            Self::ReaderSem => rw.reader_sem,
            Self::WaitGroup => layout.wait_group.sema,
            Self::Cond => layout.cond_notify,
            Self::Semaphore => 0,
        };
        semaphore.checked_sub(offset.into()).filter(|base| base.is_multiple_of(4))
    }
}

/// Reads the locks at `wanted`, and hands each over with its state: `None` for what makes no sense. Those that
/// cannot be read are left out.
///
/// # Errors
/// When the target could not be read.
pub(crate) fn read_locks(
    frontier: &mut Frontier<'_>,
    (layout, list): (&SyncLayout, Option<&NotifyListLayout>),
    minor: u32,
    wanted: &[(Addr, LockKind)],
    mut each: impl FnMut(Addr, LockKind, Option<ObjectState>),
) -> Result<(), ReadError> {
    let state = |kind: LockKind, bytes: &[u8]| match kind {
        LockKind::Mutex => layout.mutex.parse(bytes, 0).map(ObjectState::Mutex),
        LockKind::RwMutex => layout.rw_mutex.parse(bytes, &layout.mutex).map(ObjectState::RwMutex),
        LockKind::WaitGroup => {
            let (counter, waiters) = layout.wait_group.parse(bytes, minor)?;
            Some(ObjectState::WaitGroup { counter, waiters })
        }
        LockKind::Cond => {
            let bytes = bytes.get(layout.cond_notify as usize..)?;
            let list = NotifyList::parse(Addr(0), bytes, list?)?;
            Some(ObjectState::Cond { waiters: list.waiters() })
        }
        LockKind::Semaphore => Some(ObjectState::Semaphore { value: bytes.u32_at(0)? }),
    };
    for kind in LockKind::ALL {
        let of_kind = wanted.iter().filter(|(_, other)| *other == kind);
        let mut jobs: Vec<(Addr, LockKind)> = of_kind.copied().collect();
        frontier.jobs(&mut jobs, kind.size(), |addr, kind, bytes| each(addr, kind, state(kind, bytes)))?;
    }
    Ok(())
}
