//! What the layout tables hold: the fields that are read, and those by which symbols are found.
//!
//! A field that a version of Go lacks is simply absent from its table.

/// The fields of a structure that are in the tables; `None` for one that is not in them.
#[must_use]
pub(crate) fn fields(structure: &str) -> Option<&'static [&'static str]> {
    STRUCTS.iter().find(|(name, _)| *name == structure).map(|(_, fields)| *fields)
}

/// Whether the tables hold that field of that structure, where a version has it.
#[must_use]
pub(crate) const fn has(structure: &str, field: &str) -> bool {
    let mut structs = STRUCTS;
    while let [(name, fields), rest @ ..] = structs {
        if equal(name.as_bytes(), structure.as_bytes()) {
            let mut fields = *fields;
            while let [name, rest @ ..] = fields {
                if equal(name.as_bytes(), field.as_bytes()) {
                    return true;
                }
                fields = rest;
            }
        }
        structs = rest;
    }
    false
}

/// Refuses a name that the tables do not hold, when gospy is compiled: see [`crate::runtime::mirror`].
pub(crate) const fn check(structure: &str, field: &str) {
    assert!(has(structure, field), "this field of this structure is not in the layout tables");
}

/// [`check`] for several fields.
pub(crate) const fn check_all(structure: &str, fields: &[&str]) {
    let mut fields = fields;
    while let [field, rest @ ..] = fields {
        check(structure, field);
        fields = rest;
    }
}

const fn equal(a: &[u8], b: &[u8]) -> bool {
    let (mut a, mut b) = (a, b);
    while let ([x, a_rest @ ..], [y, b_rest @ ..]) = (a, b) {
        if *x != *y {
            return false;
        }
        (a, b) = (a_rest, b_rest);
    }
    a.is_empty() && b.is_empty()
}

/// Structures and their fields, by DWARF's names. Order here is order in the tables.
pub(crate) const STRUCTS: &[(&str, &[&str])] = &[
    (
        "runtime.g",
        &[
            "stack",
            "stackguard0",
            "_panic",
            "_defer",
            "m",
            "sched",
            "syscallsp",
            "syscallpc",
            "syscallbp",
            "stktopsp",
            "param",
            "atomicstatus",
            "goid",
            "schedlink",
            "waitsince",
            "waitreason",
            "preempt",
            "asyncSafePoint",
            "activeStackChans",
            "parkingOnChan",
            "trackingSeq",
            "lockedm",
            "sig",
            "sigcode0",
            "sigcode1",
            "sigpc",
            "parentGoid",
            "gopc",
            "ancestors",
            "startpc",
            "waiting",
            "cgoCtxt",
            "labels",
            "timer",
            "sleepWhen",
            "selectDone",
            "coroarg",
            "syncGroup",
            "bubble",
        ],
    ),
    ("runtime.gobuf", &["sp", "pc", "g", "ctxt", "lr", "bp"]),
    ("runtime._panic", &["arg", "link", "recovered", "repanicked", "goexit", "deferreturn"]),
    ("runtime._defer", &["fn", "link"]),
    ("runtime._type", &["size", "ptrdata", "tflag", "kind", "gcdata", "str"]),
    ("internal/abi.Type", &["Size_", "PtrBytes", "TFlag", "Kind_", "GCData", "Str"]),
    (
        "runtime.m",
        &[
            "g0",
            "procid",
            "gsignal",
            "tls",
            "curg",
            "p",
            "nextp",
            "oldp",
            "id",
            "throwing",
            "preemptoff",
            "locks",
            "dying",
            "spinning",
            "blocked",
            "incgo",
            "isextra",
            "isExtraInC",
            "ncgocall",
            "ncgo",
            "alllink",
            "schedlink",
            "lockedg",
            "lockedExt",
            "lockedInt",
            "syscalltick",
            "libcallsp",
            "vdsoSP",
            "vdsoPC",
            "createstack",
        ],
    ),
    (
        "runtime.p",
        &[
            "id",
            "status",
            "link",
            "schedtick",
            "syscalltick",
            "m",
            "mcache",
            "goidcache",
            "goidcacheend",
            "runqhead",
            "runqtail",
            "runq",
            "runnext",
            "gFree",
            "gcMarkWorkerMode",
            "statsSeq",
            "timer0When",
            "timers",
            "numTimers",
            "preempt",
            "goroutinesCreated",
        ],
    ),
    (
        "runtime.schedt",
        &[
            "goidgen",
            "lastpoll",
            "pollUntil",
            "lock",
            "midle",
            "nmidle",
            "nmidlelocked",
            "mnext",
            "maxmcount",
            "nmsys",
            "nmfreed",
            "ngsys",
            "pidle",
            "npidle",
            "nmspinning",
            "runq",
            "runqsize",
            "gFree",
            "sudoglock",
            "sudogcache",
            "gcwaiting",
            "stopwait",
            "sysmonwait",
            "sysmonlock",
            "procresizetime",
            "totaltime",
            "goroutinesCreated",
        ],
    ),
    ("runtime.gQueue", &["head", "tail", "size"]),
    ("runtime.gList", &["head", "size"]),
    (
        "runtime.sudog",
        &[
            "g",
            "next",
            "prev",
            "elem",
            "acquiretime",
            "releasetime",
            "ticket",
            "isSelect",
            "success",
            "parent",
            "waitlink",
            "waittail",
            "c",
        ],
    ),
    (
        "runtime.hchan",
        &[
            "qcount", "dataqsiz", "buf", "elemsize", "closed", "timer", "elemtype", "sendx", "recvx", "recvq", "sendq",
            "bubble",
        ],
    ),
    ("runtime.waitq", &["first", "last"]),
    ("runtime.maybeTraceablePtr", &["vp", "vu"]),
    (
        "runtime.timer",
        &[
            "pp", "astate", "state", "isChan", "isFake", "blocked", "when", "period", "f", "arg", "seq", "ts",
            "nextwhen", "status",
        ],
    ),
    ("runtime.timers", &["heap", "len", "zombies", "minWhenHeap", "minWhenModified"]),
    ("runtime.timerWhen", &["timer", "when"]),
    (
        "runtime.pollDesc",
        &["link", "fd", "fdseq", "atomicInfo", "rg", "wg", "closing", "rseq", "rd", "wseq", "wd", "self"],
    ),
    ("runtime.semaRoot", &["lock", "treap", "nwait"]),
    ("runtime.notifyList", &["wait", "notify", "lock", "head", "tail"]),
    ("runtime.mutex", &["key"]),
    ("runtime.ancestorInfo", &["pcs", "goid", "gopc"]),
    ("runtime.coro", &["gp", "f", "mp"]),
    (
        "runtime.synctestGroup",
        &["timers", "now", "root", "waiter", "main", "waiting", "done", "total", "running", "active"],
    ),
    (
        "runtime.synctestBubble",
        &["timers", "id", "now", "root", "waiter", "main", "waiting", "done", "total", "running", "active"],
    ),
    ("runtime.hmap", &["count", "flags", "B", "buckets", "oldbuckets"]),
    (
        "runtime.mstats",
        &[
            "heapStats",
            "stacks_sys",
            "mspan_sys",
            "mcache_sys",
            "buckhash_sys",
            "gcMiscSys",
            "other_sys",
            "last_gc_unix",
            "pause_total_ns",
            "pause_ns",
            "pause_end",
            "numgc",
            "numforcedgc",
            "gc_cpu_fraction",
            "last_gc_nanotime",
            "lastHeapInUse",
            "enablegc",
        ],
    ),
    ("runtime.consistentHeapStats", &["stats", "gen"]),
    (
        "runtime.heapStatsDelta",
        &[
            "committed",
            "released",
            "inHeap",
            "inStacks",
            "inWorkBufs",
            "inPtrScalarBits",
            "tinyAllocCount",
            "largeAlloc",
            "largeAllocCount",
            "smallAllocCount",
            "largeFree",
            "largeFreeCount",
            "smallFreeCount",
        ],
    ),
    (
        "runtime.gcControllerState",
        &[
            "gcPercent",
            "memoryLimit",
            "gcPercentHeapGoal",
            "sweepDistMinTrigger",
            "triggered",
            "lastHeapGoal",
            "heapLive",
            "heapMarked",
            "bgScanCredit",
            "dedicatedMarkTime",
            "heapInUse",
            "heapReleased",
            "heapFree",
            "totalAlloc",
            "totalFree",
            "mappedReady",
        ],
    ),
    (
        "runtime.mheap",
        &[
            "pagesSwept",
            "sweepHeapLiveBasis",
            "sweepPagesPerByte",
            "pagesSweptBasis",
            "pagesInUse",
            "arenaHints",
            "sweepArenas",
            "allspans",
            "arenas",
            "spanalloc",
            "cachealloc",
        ],
    ),
    ("runtime.fixalloc", &["inuse"]),
    ("runtime.heapArena", &["bitmap", "noMorePtrs", "pageUseSpanInlineMarkBits"]),
    ("runtime.mcache", &["tinyAllocs", "alloc"]),
    (
        "runtime.mspan",
        &[
            "startAddr",
            "npages",
            "freeindex",
            "nelems",
            "allocBits",
            "allocCount",
            "spanclass",
            "state",
            "allocCountBeforeCache",
            "isUserArenaChunk",
            "elemsize",
            "limit",
            "specials",
            "largeType",
        ],
    ),
    ("runtime.special", &["next", "offset", "kind"]),
    ("runtime.finblock", &["alllink", "cnt", "fin"]),
    ("runtime.finBlock", &["alllink", "cnt", "fin"]),
    ("runtime.finalizer", &["fn", "arg", "fint", "ot"]),
    ("runtime.cleanupQueue", &["all"]),
    ("runtime.cleanupBlock", &["cleanups"]),
    ("runtime.cleanupBlockHeader", &["alllink", "n"]),
    ("runtime.cleanupFn", &["call", "fn", "arg"]),
    (
        "runtime.moduledata",
        &[
            "pcHeader",
            "ftab",
            "minpc",
            "maxpc",
            "text",
            "etext",
            "noptrdata",
            "data",
            "bss",
            "noptrbss",
            "enoptrbss",
            "types",
            "etypes",
            "rodata",
            "gofunc",
            "gcdatamask",
            "gcbssmask",
            "modulename",
            "next",
        ],
    ),
    ("runtime._func", &["entryOff", "nameOff", "npcdata", "startLine", "funcID", "flag", "nfuncdata"]),
    ("runtime.inlinedCall", &["funcID", "nameOff", "func_", "parentPc", "startLine"]),
    ("runtime.bucket", &["allnext", "typ", "size", "nstk"]),
    ("runtime.memRecord", &["active", "future"]),
    ("runtime.memRecordCycle", &["allocs", "frees", "alloc_bytes", "free_bytes"]),
    ("runtime.blockRecord", &["count", "cycles"]),
    ("sync.Mutex", &["mu", "state", "sema"]),
    ("internal/sync.Mutex", &["state", "sema"]),
    ("sync.RWMutex", &["w", "writerSem", "readerSem", "readerCount", "readerWait"]),
    ("sync.WaitGroup", &["state", "state1", "state2", "sema"]),
    ("sync.Cond", &["L", "notify"]),
];

/// Variables whose size is needed to know how many elements they have.
pub(crate) const GLOBALS: &[&str] = &["runtime.semtable", "runtime.waitReasonStrings"];

/// The sizes of small objects by size class: the variable that holds them. It has moved.
pub(crate) const SIZE_CLASSES: &[&str] = &["runtime.class_to_size", "internal/runtime/gc.SizeClassToSize"];
