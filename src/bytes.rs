//! Bytes of a file, read on demand.
//!
//! Opening a 100 MB program must not read 100 MB, so callers never get a whole file: they ask for the parts
//! they need. Also here: the checked little-endian readers that every decoder of untrusted bytes uses.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A source of a file's bytes: the file itself, the copy in a core file or capture, or a vector in a test.
pub trait ByteSource: Send + Sync {
    /// Length in bytes.
    fn len(&self) -> u64;

    /// Reads into `buf` from `offset` and returns the number of bytes read. A short count means the end of the
    /// source, or a gap in a sparse one.
    ///
    /// # Errors
    /// When the source could not be read.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// The source without recording, when reads of this one are recorded. For searches, which read a lot and
    /// remember only the result.
    fn unlogged(&self) -> Option<Arc<dyn ByteSource>> {
        None
    }

    /// Whether it is empty.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl ByteSource for Vec<u8> {
    fn len(&self) -> u64 {
        Vec::len(self) as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let tail = usize::try_from(offset).ok().and_then(|start| self.get(start..)).unwrap_or_default();
        let n = tail.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..n), tail.get(..n)) {
            to.copy_from_slice(from);
        }
        Ok(n)
    }
}

/// Size of the blocks in which [`PagedBytes`] reads, in bytes.
const BLOCK: u64 = 16 * 1024;

/// A [`ByteSource`] seen through a cache of blocks, shared between threads.
pub struct PagedBytes {
    source: Arc<dyn ByteSource>,
    blocks: Mutex<HashMap<u64, Arc<[u8]>>>,
}

impl fmt::Debug for PagedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PagedBytes").field("len", &self.source.len()).finish_non_exhaustive()
    }
}

impl PagedBytes {
    /// A lazy view of `source`.
    #[must_use]
    pub fn new(source: Arc<dyn ByteSource>) -> Self {
        Self { source, blocks: Mutex::default() }
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.source.len()
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The source behind the cache, for bulk reads that should not fill it.
    #[must_use]
    pub fn source(&self) -> &Arc<dyn ByteSource> {
        &self.source
    }

    /// Gives up the blocks that are kept. What is asked for later is read again.
    pub fn forget(&self) {
        *self.blocks() = HashMap::new();
    }

    fn block(&self, index: u64) -> Option<Arc<[u8]>> {
        if let Some(block) = self.blocks().get(&index) {
            return Some(Arc::clone(block));
        }
        // Read without the lock: the disk may be slow or hang, and other threads need the cached blocks. At
        // worst two threads read the same block twice.
        let start = index.checked_mul(BLOCK)?;
        let want = self.source.len().checked_sub(start)?.min(BLOCK);
        let mut buf = vec![0; usize::try_from(want).ok()?];
        let got = self.source.read_at(start, &mut buf).ok()?;
        buf.truncate(got);
        Some(Arc::clone(self.blocks().entry(index).or_insert_with(|| buf.into())))
    }

    fn blocks(&self) -> MutexGuard<'_, HashMap<u64, Arc<[u8]>>> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads up to `buf.len()` bytes from `offset` on and returns how many were read.
    pub fn read_up_to(&self, offset: u64, buf: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buf.len() {
            let Some(at) = offset.checked_add(done as u64) else {
                break;
            };
            let Some(block) = self.block(at / BLOCK) else {
                break;
            };
            let Some(from) = usize::try_from(at % BLOCK).ok().and_then(|skip| block.get(skip..)) else {
                break;
            };
            let Some(to) = buf.get_mut(done..) else { break };
            let n = from.len().min(to.len());
            if n == 0 {
                break;
            }
            if let (Some(to), Some(from)) = (to.get_mut(..n), from.get(..n)) {
                to.copy_from_slice(from);
            }
            done += n;
        }
        done
    }

    /// Fills `buf` from `offset`, or returns `None` when not all bytes are there.
    pub fn read_exact(&self, offset: u64, buf: &mut [u8]) -> Option<()> {
        (self.read_up_to(offset, buf) == buf.len()).then_some(())
    }

    /// An array of `N` bytes at `offset`.
    #[must_use]
    pub fn array<const N: usize>(&self, offset: u64) -> Option<[u8; N]> {
        let mut buf = [0; N];
        self.read_exact(offset, &mut buf)?;
        Some(buf)
    }

    /// One byte.
    #[must_use]
    pub fn u8(&self, offset: u64) -> Option<u8> {
        self.array::<1>(offset).map(|[b]| b)
    }

    /// A little-endian 32-bit word.
    #[must_use]
    pub fn u32(&self, offset: u64) -> Option<u32> {
        self.array(offset).map(u32::from_le_bytes)
    }

    /// A little-endian 64-bit word.
    #[must_use]
    pub fn u64(&self, offset: u64) -> Option<u64> {
        self.array(offset).map(u64::from_le_bytes)
    }

    /// The bytes from `offset` up to the next NUL, at most `limit` of them; `None` when there is no
    /// NUL within the limit.
    #[must_use]
    pub fn c_str(&self, offset: u64, limit: usize) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let mut window = [0_u8; 128];
        while out.len() <= limit {
            let got = self.read_up_to(offset.checked_add(out.len() as u64)?, &mut window);
            let part = window.get(..got)?;
            if part.is_empty() {
                return None;
            }
            match memchr::memchr(0, part) {
                Some(end) => {
                    out.extend_from_slice(part.get(..end)?);
                    return (out.len() <= limit).then_some(out);
                }
                None => out.extend_from_slice(part),
            }
        }
        None
    }
}

/// Little-endian fields of a slice; `None` when the slice is too short.
pub(crate) trait FieldsExt {
    /// `N` bytes at `at`.
    fn array_at<const N: usize>(&self, at: usize) -> Option<[u8; N]>;
    /// One byte at `at`.
    fn u8_at(&self, at: usize) -> Option<u8>;
    /// 16 bits at `at`.
    fn u16_at(&self, at: usize) -> Option<u16>;
    /// 32 bits at `at`.
    fn u32_at(&self, at: usize) -> Option<u32>;
    /// 32 bits at `at`, signed.
    fn i32_at(&self, at: usize) -> Option<i32>;
    /// 64 bits at `at`.
    fn u64_at(&self, at: usize) -> Option<u64>;
    /// 64 bits at `at`, signed.
    fn i64_at(&self, at: usize) -> Option<i64>;
}

impl FieldsExt for [u8] {
    fn array_at<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.get(at..at.checked_add(N)?)?.try_into().ok()
    }

    fn u8_at(&self, at: usize) -> Option<u8> {
        self.get(at).copied()
    }

    fn u16_at(&self, at: usize) -> Option<u16> {
        self.array_at(at).map(u16::from_le_bytes)
    }

    fn u32_at(&self, at: usize) -> Option<u32> {
        self.array_at(at).map(u32::from_le_bytes)
    }

    fn i32_at(&self, at: usize) -> Option<i32> {
        self.array_at(at).map(i32::from_le_bytes)
    }

    fn u64_at(&self, at: usize) -> Option<u64> {
        self.array_at(at).map(u64::from_le_bytes)
    }

    fn i64_at(&self, at: usize) -> Option<i64> {
        self.array_at(at).map(i64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU8, Ordering};
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
    use std::time::Duration;

    #[test]
    fn reads_across_blocks_and_stops_at_the_end() {
        let data: Vec<u8> = (0..40_000_u32).map(|i| (i % 251) as u8).collect();
        let paged = PagedBytes::new(Arc::new(data.clone()));
        let mut buf = vec![0; 20_000];
        assert_eq!(paged.read_up_to(10_000, &mut buf), 20_000);
        assert_eq!(buf, data[10_000..30_000]);
        assert_eq!(paged.read_up_to(39_990, &mut buf), 10);
        assert_eq!(paged.read_up_to(40_000, &mut buf), 0);
        assert_eq!(paged.read_up_to(u64::MAX, &mut buf), 0);
        assert!(paged.read_exact(39_990, &mut buf).is_none());
    }

    /// The first block is available at once; a read of another one blocks until released.
    struct Slow {
        asked: SyncSender<()>,
        goes_on: Mutex<Receiver<()>>,
    }

    impl ByteSource for Slow {
        fn len(&self) -> u64 {
            2 * BLOCK
        }

        fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
            if offset > 0 {
                self.asked.send(()).unwrap();
                // An error is the end of the test.
                let _ = self.goes_on.lock().unwrap().recv_timeout(LONG);
            }
            buf.fill(7);
            Ok(buf.len())
        }
    }

    #[test]
    fn what_is_forgotten_is_read_again() {
        /// Each read gives another byte.
        struct Counting(AtomicU8);

        impl ByteSource for Counting {
            fn len(&self) -> u64 {
                BLOCK
            }

            fn read_at(&self, _: u64, buf: &mut [u8]) -> io::Result<usize> {
                buf.fill(self.0.fetch_add(1, Ordering::Relaxed));
                Ok(buf.len())
            }
        }

        let paged = PagedBytes::new(Arc::new(Counting(AtomicU8::new(5))));
        assert_eq!((paged.u8(0), paged.u8(1)), (Some(5), Some(5)));
        paged.forget();
        assert_eq!((paged.u8(0), paged.u8(1)), (Some(6), Some(6)));
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn a_hanging_read_does_not_block_reads_of_cached_blocks() {
        let (asked, is_asked) = sync_channel(1);
        let (go_on, goes_on) = sync_channel(1);
        let paged = PagedBytes::new(Arc::new(Slow { asked, goes_on: Mutex::new(goes_on) }));
        assert_eq!(paged.u8(0), Some(7));
        std::thread::scope(|scope| {
            let hangs = scope.spawn(|| paged.u8(BLOCK));
            is_asked.recv_timeout(LONG).unwrap();
            let (read, is_read) = sync_channel(1);
            let (paged, read) = (&paged, read);
            scope.spawn(move || read.send(paged.u8(1)).unwrap());
            let other = is_read.recv_timeout(LONG / 4);
            let hung = !hangs.is_finished();
            go_on.send(()).unwrap();
            assert_eq!((other, hung), (Ok(Some(7)), true));
            assert_eq!(hangs.join().unwrap(), Some(7));
        });
    }

    #[test]
    fn strings_must_end_with_nul() {
        let mut data = vec![b'a'; 300];
        data.push(0);
        data.extend_from_slice(b"tail without end");
        let paged = PagedBytes::new(Arc::new(data));
        assert_eq!(paged.c_str(0, 300).unwrap().len(), 300);
        assert!(paged.c_str(0, 299).is_none());
        assert!(paged.c_str(301, 1000).is_none());
    }
}
