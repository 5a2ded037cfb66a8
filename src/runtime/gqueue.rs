//! `runtime.gQueue`: a list of goroutines linked through `g.schedlink`.

use super::layout::layout;

layout! {
    /// Offsets in `runtime.gQueue` (proc.go).
    GQueueLayout of "runtime.gQueue" {
        head = "head",
        tail = "tail",
        ; optional
        len = "size",
    }
}
