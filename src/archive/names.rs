//! The names that samples share, as a stream of entries.

use super::encoder::EncodeError;
use super::{MAX_NAME, MAX_NAMES, Malformed, push_varint, take_entry};
use crate::model::{PoolEntry, PoolId, PoolLen, SymbolPool};

/// Names that were written already.
#[derive(Debug, Default)]
pub(super) struct Written {
    of: Option<(PoolId, PoolLen)>,
}

impl Written {
    /// Adds those of `pool` that were not written to `out`; `true` if they are from the first one on, since the
    /// pool is another one.
    ///
    /// # Errors
    /// When one cannot be encoded, or is too long.
    pub(super) fn write_new(&mut self, pool: &SymbolPool, out: &mut Vec<u8>) -> Result<bool, EncodeError> {
        let known = self.of.filter(|(id, _)| *id == pool.id()).map(|(_, known)| known);
        for entry in pool.entries_after(known.unwrap_or_default()) {
            let bytes = postcard::to_stdvec(&entry)?;
            if bytes.len() > MAX_NAME {
                return Err(EncodeError::TooLarge { what: "one of its names" });
            }
            push_varint(out, bytes.len() as u64);
            out.extend(bytes);
        }
        self.of = Some((pool.id(), pool.len().max(known.unwrap_or_default())));
        Ok(known.is_none())
    }
}

/// Names as they are read back.
#[derive(Debug, Default)]
pub(super) struct Names {
    pool: SymbolPool,
    size: usize,
    /// The beginning of an entry that has not ended yet.
    rest: Vec<u8>,
}

impl Names {
    /// Adds the next bytes of the stream; all names together may take `most` bytes of memory.
    ///
    /// # Errors
    /// When they are malformed, or there are too many.
    pub(super) fn add(&mut self, bytes: &[u8], most: usize) -> Result<(), Malformed> {
        self.size = self.size.saturating_add(bytes.len());
        if self.size > MAX_NAMES {
            return Err(Malformed("it has too many names"));
        }
        self.rest.extend(bytes);
        let mut stream = &self.rest[..];
        while let Some(entry) = take_entry(&mut stream, MAX_NAME)? {
            let entry: PoolEntry = postcard::from_bytes(entry).map_err(|_| Malformed("a name is malformed"))?;
            if !self.pool.add_entry(entry) {
                return Err(Malformed("a name is there twice"));
            }
            if self.pool.bytes() > most {
                return Err(Malformed("its names take too much memory"));
            }
        }
        let done = self.rest.len() - stream.len();
        self.rest.drain(..done);
        Ok(())
    }

    /// All of them.
    pub(super) fn pool(&self) -> &SymbolPool {
        &self.pool
    }
}
