//! Pieces of JSON that many goroutines share, made once.

use std::rc::Rc;

use rustc_hash::FxHashMap;
use serde::Serialize;
use serde_json::value::RawValue;

use super::escape::to_raw;
use crate::analysis::Place;
use crate::model::{FrameId, StackId};

/// Bytes that are remembered; what comes after is made each time.
const REMEMBERED: usize = 64 << 20;

/// A piece of JSON.
#[derive(Clone, Debug)]
pub(super) struct Piece(Rc<RawValue>);

impl Serialize for Piece {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// Places by frame or by what they are, and lists of frames by stack.
#[derive(Debug, Default)]
pub(super) struct SharedJson {
    places: FxHashMap<FrameId, Piece>,
    user_places: FxHashMap<Place, Piece>,
    stacks: FxHashMap<StackId, Piece>,
    remembered: usize,
}

impl SharedJson {
    /// The JSON of what `make` makes of `frame`.
    pub(super) fn place<T: Serialize>(
        &mut self,
        frame: FrameId,
        make: impl FnOnce() -> T,
    ) -> serde_json::Result<Piece> {
        piece(&mut self.places, &mut self.remembered, frame, make)
    }

    /// The JSON of what `make` makes of a place in the user's code.
    pub(super) fn user_place<T: Serialize>(
        &mut self,
        place: Place,
        make: impl FnOnce() -> T,
    ) -> serde_json::Result<Piece> {
        piece(&mut self.user_places, &mut self.remembered, place, make)
    }

    /// The JSON of what only one goroutine has.
    pub(super) fn own<T: Serialize>(value: &T) -> serde_json::Result<Piece> {
        Ok(Piece(to_raw(value)?.into()))
    }

    /// The JSON of what `make` makes of `stack`.
    pub(super) fn stack<T: Serialize>(
        &mut self,
        stack: StackId,
        make: impl FnOnce() -> T,
    ) -> serde_json::Result<Piece> {
        piece(&mut self.stacks, &mut self.remembered, stack, make)
    }
}

fn piece<K: Eq + std::hash::Hash, T: Serialize>(
    known: &mut FxHashMap<K, Piece>,
    remembered: &mut usize,
    key: K,
    make: impl FnOnce() -> T,
) -> serde_json::Result<Piece> {
    if let Some(piece) = known.get(&key) {
        return Ok(piece.clone());
    }
    let piece = SharedJson::own(&make())?;
    *remembered = remembered.saturating_add(piece.0.get().len());
    if *remembered <= REMEMBERED {
        known.insert(key, piece.clone());
    }
    Ok(piece)
}
