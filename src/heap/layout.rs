//! Where the fields are that the heap is walked by.

use crate::runtime::layout::{LayoutTable, MissingField};
use crate::runtime::mirror::g::{DeferLayout, StackRootsLayout};
use crate::runtime::mirror::go_type::AbiPointersLayout;
use crate::runtime::mirror::mheap::{HeapArenaLayout, MheapLayout};
use crate::runtime::mirror::moduledata::ModuleMasksLayout;
use crate::runtime::mirror::mspan::HeapSpanLayout;
use crate::runtime::mirror::sema_root::SemaRootLayout;
use crate::runtime::mirror::special::{
    CleanupBlockLayout, CleanupQueueLayout, FinBlockLayout, FinalizerLayout, OldFinBlockLayout, SpecialLayout,
};
use crate::runtime::mirror::sudog::SudogLayout;

/// Layouts of what the heap is walked by. They are resolved when the heap is read, and not with the
/// layouts that every reader needs.
#[derive(Clone, Debug)]
pub struct HeapLayout {
    pub(super) mheap: MheapLayout,
    pub(super) span: HeapSpanLayout,
    pub(super) arena: HeapArenaLayout,
    /// From 1.22 on: the types of objects say which of their words are pointers.
    pub(super) types: Option<AbiPointersLayout>,
    pub(super) special: SpecialLayout,
    pub(super) finalizer: FinalizerLayout,
    pub(super) fin_block: FinBlockLayout,
    pub(super) cleanups: Option<CleanupLayout>,
    pub(super) module: ModuleMasksLayout,
    pub(super) stack_roots: StackRootsLayout,
    pub(super) deferred: DeferLayout,
    pub(super) sudog: SudogLayout,
    pub(super) sema_root: SemaRootLayout,
}

/// Of the queue of cleanups (1.25 on).
#[derive(Clone, Copy, Debug)]
pub(super) struct CleanupLayout {
    pub(super) queue: CleanupQueueLayout,
    pub(super) block: CleanupBlockLayout,
    /// Offset of the first cleanup in a block, bytes.
    pub(super) first: u32,
    /// Size of a cleanup, bytes; every word of it is a pointer.
    pub(super) size: u32,
}

impl HeapLayout {
    /// Takes the offsets out of `table`.
    ///
    /// # Errors
    /// With the first field that every supported version has and `table` lacks.
    pub fn resolve(table: &LayoutTable) -> Result<Self, MissingField> {
        let fin_block = FinBlockLayout::resolve(table).or_else(|_| {
            // Its name until 1.24.
            let old = OldFinBlockLayout::resolve(table)?;
            let OldFinBlockLayout { size, all_link, count, first } = old;
            Ok(FinBlockLayout { size, all_link, count, first })
        })?;
        let cleanups = || {
            Some(CleanupLayout {
                queue: CleanupQueueLayout::resolve(table).ok()?,
                block: CleanupBlockLayout::resolve(table).ok()?,
                first: table.offset("runtime.cleanupBlock", "cleanups")?,
                // A pointer to a closure in 1.25, three pointers from 1.26 on.
                size: table.size("runtime.cleanupFn").unwrap_or(8),
            })
        };
        Ok(Self {
            mheap: MheapLayout::resolve(table)?,
            span: HeapSpanLayout::resolve(table)?,
            arena: HeapArenaLayout::resolve(table)?,
            types: AbiPointersLayout::resolve(table).ok(),
            special: SpecialLayout::resolve(table)?,
            finalizer: FinalizerLayout::resolve(table)?,
            fin_block,
            cleanups: cleanups(),
            module: ModuleMasksLayout::resolve(table)?,
            stack_roots: StackRootsLayout::resolve(table)?,
            deferred: DeferLayout::resolve(table)?,
            sudog: SudogLayout::with_values(table)?,
            sema_root: SemaRootLayout::resolve(table)?,
        })
    }

    /// How the words of objects that are pointers are marked.
    pub(super) fn form(&self) -> PointerForm {
        match (self.arena.bitmap, self.arena.no_more_pointers) {
            (Some(bitmap), None) => PointerForm::TwoBits { bitmap },
            (Some(bitmap), Some(no_more)) => PointerForm::OneBit { bitmap, no_more },
            (None, _) => PointerForm::SpansAndTypes,
        }
    }
}

/// How a version marks the words of objects that are pointers (runtime/mbitmap.go).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PointerForm {
    /// To 1.19: two bits a word in the arena's bitmap, one for "pointer" and one for "more follow".
    TwoBits {
        /// Offset of the bitmap in an arena's record, bytes.
        bitmap: u32,
    },
    /// 1.20 and 1.21: one bit a word, and one for each 64 words that ends an object's pointers.
    OneBit {
        /// Offset of the bitmap in an arena's record, bytes.
        bitmap: u32,
        /// Likewise of the bits that end.
        no_more: u32,
    },
    /// From 1.22 on: a bitmap at the end of a span of small objects, and the types of larger ones.
    SpansAndTypes,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Arch;
    use crate::runtime::layout::{SUPPORTED_MINORS, checked_in};

    #[test]
    fn every_version_has_what_the_heap_takes() {
        for minor in SUPPORTED_MINORS {
            for arch in [Arch::Amd64, Arch::Arm64] {
                let layout = HeapLayout::resolve(&checked_in(*minor, arch).unwrap()).unwrap();
                let form = layout.form();
                assert_eq!(matches!(form, PointerForm::TwoBits { .. }), *minor <= 19);
                assert_eq!(matches!(form, PointerForm::SpansAndTypes), *minor >= 22);
                assert!(layout.types.is_some() || *minor <= 19);
                assert_eq!(
                    layout.cleanups.map(|cleanups| cleanups.size),
                    match minor {
                        ..=24 => None,
                        25 => Some(8),
                        _ => Some(24),
                    }
                );
                // The widths of these follow from their distances.
                assert!(layout.span.counts(&[0; 256]).is_some() && layout.special.offset(&[0; 64]).is_some());
                assert_eq!(layout.span.elements - layout.span.free_index, if *minor >= 22 { 2 } else { 8 });
            }
        }
    }
}
