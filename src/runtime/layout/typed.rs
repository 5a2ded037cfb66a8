//! Typed layouts: what the mirrors of the runtime's types need, resolved once.

use super::{LayoutTable, MissingField, wanted};
use crate::runtime::mirror::Mirror;
use crate::runtime::mirror::ancestors::{AncestorInfo, AncestorInfoLayout};
use crate::runtime::mirror::bubble::{SynctestBubble, SynctestBubbleLayout};
use crate::runtime::mirror::coro::{Coro, CoroLayout};
use crate::runtime::mirror::g::{G, GLayout, Gobuf, GobufLayout, Standing, StandingLayout};
use crate::runtime::mirror::gc_controller::{GcController, GcControllerLayout};
use crate::runtime::mirror::go_type::TypeLayout;
use crate::runtime::mirror::hchan::{Hchan, HchanLayout};
use crate::runtime::mirror::labels::{Hmap, HmapLayout};
use crate::runtime::mirror::m::{M, MLayout};
use crate::runtime::mirror::mcache::{Mcache, McacheLayout};
use crate::runtime::mirror::moduledata::{Moduledata, ModuledataLayout};
use crate::runtime::mirror::mspan::{Mspan, MspanLayout};
use crate::runtime::mirror::mstats::{
    ConsistentHeapStats, ConsistentHeapStatsLayout, HeapStatsDelta, HeapStatsDeltaLayout, MemStats, MstatsLayout,
};
use crate::runtime::mirror::notify_list::{NotifyList, NotifyListLayout};
use crate::runtime::mirror::p::{P, PLayout};
use crate::runtime::mirror::panic::{Panic, PanicLayout};
use crate::runtime::mirror::poll_desc::{PollDesc, PollDescLayout};
use crate::runtime::mirror::sched::{Sched, SchedLayout};
use crate::runtime::mirror::sema_root::{SemaRoot, SemaRootLayout};
use crate::runtime::mirror::sudog::{Sudog, SudogLayout};
use crate::runtime::mirror::sync_types::SyncLayout;
use crate::runtime::mirror::timer::{Timer, TimerLayout};

/// A mirror whose layout is among those of a [`Layout`].
pub trait Placed: Mirror {
    /// Its layout; `None` where this version does not have the type.
    fn layout_in(layout: &Layout) -> Option<&Self::Layout>;
}

/// Declares [`Layout`]: the mirrors that every version has, and those that only some have.
macro_rules! layouts {
    (
        { $($field:ident: $mirror:ident, $layout:ident;)* }
        optional { $($optional:ident: $omirror:ident, $olayout:ident;)* }
    ) => {
        /// Every typed layout, and the table that they were taken from.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Layout {
            $(
                #[doc = concat!("Of [`", stringify!($mirror), "`].")]
                pub $field: $layout,
            )*
            $(
                #[doc = concat!("Of [`", stringify!($omirror), "`], in versions that have it, and not in what was recorded before it was asked for.")]
                pub $optional: Option<$olayout>,
            )*
            /// `runtime.sudog`, likewise.
            pub sudog: Option<SudogLayout>,
            /// `internal/abi.Type`, likewise.
            pub go_type: Option<TypeLayout>,
            /// The types of package sync, likewise.
            pub sync: Option<SyncLayout>,
            /// Everything by name.
            pub table: LayoutTable,
            /// Structures and fields of them that code of the program contradicts: what is read there is not
            /// to be reported.
            pub unreliable: Vec<(&'static str, &'static str)>,
        }

        impl Layout {
            /// Takes all offsets out of `table`.
            ///
            /// # Errors
            /// With the first field that every supported version has and `table` lacks.
            pub fn resolve(table: LayoutTable) -> Result<Self, MissingField> {
                Ok(Self {
                    $($field: $layout::resolve(&table)?,)*
                    $($optional: $olayout::resolve(&table).ok(),)*
                    sudog: SudogLayout::with_values(&table).ok(),
                    go_type: TypeLayout::resolve(&table),
                    sync: SyncLayout::resolve(&table),
                    table,
                    unreliable: Vec::new(),
                })
            }
        }

        $(impl Placed for $mirror {
            fn layout_in(layout: &Layout) -> Option<&$layout> {
                Some(&layout.$field)
            }
        })*
        $(impl Placed for $omirror {
            fn layout_in(layout: &Layout) -> Option<&$olayout> {
                layout.$optional.as_ref()
            }
        })*
    };
}

layouts! {
{
    g: G, GLayout;
    standing: Standing, StandingLayout;
    gobuf: Gobuf, GobufLayout;
    m: M, MLayout;
    p: P, PLayout;
    sched: Sched, SchedLayout;
    mstats: MemStats, MstatsLayout;
    heap_stats: ConsistentHeapStats, ConsistentHeapStatsLayout;
    heap_delta: HeapStatsDelta, HeapStatsDeltaLayout;
    gc_controller: GcController, GcControllerLayout;
    mcache: Mcache, McacheLayout;
    mspan: Mspan, MspanLayout;
}
    optional {
    panic: Panic, PanicLayout;
    ancestor: AncestorInfo, AncestorInfoLayout;
    bubble: SynctestBubble, SynctestBubbleLayout;
    hmap: Hmap, HmapLayout;
    moduledata: Moduledata, ModuledataLayout;
    sema_root: SemaRoot, SemaRootLayout;
    timer: Timer, TimerLayout;
    hchan: Hchan, HchanLayout;
    poll_desc: PollDesc, PollDescLayout;
    notify_list: NotifyList, NotifyListLayout;
    coro: Coro, CoroLayout;
}
}

impl Placed for Sudog {
    fn layout_in(layout: &Layout) -> Option<&SudogLayout> {
        layout.sudog.as_ref()
    }
}

impl Layout {
    /// Whether nothing contradicts where a field is, which has to be one that the tables hold.
    #[must_use]
    pub fn trusts(&self, structure: &str, field: &str) -> bool {
        debug_assert!(wanted::has(structure, field), "{structure}.{field} is in no table");
        !self.unreliable.iter().any(|(s, f)| *s == structure && *f == field)
    }
}
