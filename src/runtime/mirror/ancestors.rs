//! `runtime.ancestorInfo`: a goroutine that led to another one's creation.

use super::{Span, mirror};

mirror! {
    /// One `runtime.ancestorInfo` (runtime2.go), as it is in memory. They are kept with
    /// `GODEBUG=tracebackancestors=N` only.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct AncestorInfo, AncestorInfoLayout of "runtime.ancestorInfo" {
        /// `pcs`: one program counter for each logical frame.
        pcs: Span = "pcs",
        /// `goid`.
        goid: u64 = "goid",
        /// `gopc`: where it was created itself.
        gopc: u64 = "gopc",
    }
}
