//! The names that samples share, as a stream of entries.

use super::{MAX_NAMES, Malformed, push_varint, take_entry};
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
    /// When one cannot be encoded.
    pub(super) fn write_new(&mut self, pool: &SymbolPool, out: &mut Vec<u8>) -> Result<bool, postcard::Error> {
        let known = self.of.filter(|(id, _)| *id == pool.id()).map(|(_, known)| known);
        for entry in pool.entries_after(known.unwrap_or_default()) {
            let bytes = postcard::to_stdvec(&entry)?;
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
    /// Adds the next bytes of the stream.
    ///
    /// # Errors
    /// When they are malformed, or there are too many.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        self.size = self.size.saturating_add(bytes.len());
        if self.size > MAX_NAMES {
            return Err(Malformed("it has too many names"));
        }
        self.rest.extend(bytes);
        let mut stream = &self.rest[..];
        while let Some(entry) = take_entry(&mut stream)? {
            let entry: PoolEntry = postcard::from_bytes(entry).map_err(|_| Malformed("a name is malformed"))?;
            if !self.pool.add_entry(entry) {
                return Err(Malformed("a name is there twice"));
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
