//! `runtime.m`: one operating system thread as the scheduler sees it.

use std::collections::HashSet;

use rustc_hash::{FxBuildHasher, FxHashMap};

use super::bulk;
use super::g::read_goids;
use super::layout::{Layout, layout};
use super::p::P;
use crate::addr::Addr;
use crate::bytes::FieldsExt as _;
use crate::model::{Thread, WarningCode, Warnings};
use crate::process::{ReadError, Target, TargetExt as _, ThreadInfo};

layout! {
    /// Offsets in `runtime.m` (runtime2.go).
    MLayout of "runtime.m" {
        g0 = "g0",
        procid = "procid",
        gsignal = "gsignal",
        tls = "tls",
        curg = "curg",
        p = "p",
        id = "id",
        spinning = "spinning",
        blocked = "blocked",
        incgo = "incgo",
        ncgocall = "ncgocall",
        alllink = "alllink",
        lockedg = "lockedg",
        syscalltick = "syscalltick",
        libcallsp = "libcallsp",
        vdso_sp = "vdsoSP",
        vdso_pc = "vdsoPC",
        ; optional
        dying = "dying",
        is_extra = "isextra",
        is_extra_in_c = "isExtraInC",
    }
}

/// Most Ms that are read; the runtime allows 10,000 unless told otherwise.
const MAX_MS: usize = 100_000;

/// What is read of a `runtime.m`, as it stands in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct M {
    /// Where it is.
    pub addr: Addr,
    /// `g0`: the goroutine whose stack the scheduler runs on.
    pub g0: u64,
    /// `gsignal`: the goroutine whose stack signal handlers run on.
    pub gsignal: u64,
    /// `procid`: the kernel's id of the thread; 0 before it has started.
    pub procid: u64,
    /// `tls[0]`: in programs without cgo on amd64, the g that the thread executes now.
    pub tls0: u64,
    /// `curg`: the goroutine on it; 0 for none.
    pub curg: u64,
    /// `p`: the P that it owns; 0 for none.
    pub p: u64,
    /// `id`.
    pub id: i64,
    /// `spinning`: whether it looks for work.
    pub spinning: bool,
    /// `blocked`: whether it is parked on a note.
    pub blocked: bool,
    /// `incgo`: whether it executes C code.
    pub incgo: bool,
    /// `isextra` (1.21 on): whether it stands by for callbacks from threads that Go did not make.
    pub is_extra: bool,
    /// `isExtraInC` (1.21 on): whether such an M is used by a thread that is in C now.
    pub is_extra_in_c: bool,
    /// `dying`: how far it is in ending the program; 0 while it is not.
    pub dying: u32,
    /// `ncgocall`: calls into C so far.
    pub ncgocall: u64,
    /// `alllink`: the next M on `allm`.
    pub alllink: u64,
    /// `lockedg`: the goroutine that is locked to it; 0 for none.
    pub lockedg: u64,
    /// `syscalltick`.
    pub syscalltick: u32,
    /// `libcallsp`: its stack pointer where it called into the C library for the runtime.
    pub libcallsp: u64,
    /// `vdsoSP`: its stack pointer where it called into the vDSO; 0 when it did not.
    pub vdso_sp: u64,
    /// `vdsoPC`: its program counter there.
    pub vdso_pc: u64,
}

impl M {
    /// Takes an m's bytes apart. `None` when there are too few.
    #[must_use]
    pub fn parse(addr: Addr, bytes: &[u8], layout: &MLayout) -> Option<Self> {
        let word = |offset: u32| bytes.u64_at(offset as usize);
        let flag = |offset: u32| Some(bytes.u8_at(offset as usize)? != 0);
        Some(Self {
            addr,
            g0: word(layout.g0)?,
            gsignal: word(layout.gsignal)?,
            procid: word(layout.procid)?,
            tls0: word(layout.tls)?,
            curg: word(layout.curg)?,
            p: word(layout.p)?,
            id: bytes.i64_at(layout.id as usize)?,
            spinning: flag(layout.spinning)?,
            blocked: flag(layout.blocked)?,
            incgo: flag(layout.incgo)?,
            is_extra: layout.is_extra.and_then(flag).unwrap_or(false),
            is_extra_in_c: layout.is_extra_in_c.and_then(flag).unwrap_or(false),
            dying: layout.dying.and_then(|offset| bytes.u32_at(offset as usize)).unwrap_or(0),
            ncgocall: word(layout.ncgocall)?,
            alllink: word(layout.alllink)?,
            lockedg: word(layout.lockedg)?,
            syscalltick: bytes.u32_at(layout.syscalltick as usize)?,
            libcallsp: word(layout.libcallsp)?,
            vdso_sp: word(layout.vdso_sp)?,
            vdso_pc: word(layout.vdso_pc)?,
        })
    }
}

/// Every M on the list that begins in the variable at `allm`, newest first. `known` are addresses
/// of Ms that were met elsewhere (in gs and ps): reading them at once saves a read for each, and a
/// wrong one does no harm.
///
/// # Errors
/// When the target could not be looked at.
pub fn read_ms(
    target: &dyn Target,
    allm: Addr,
    known: &[Addr],
    layout: &Layout,
    warnings: &mut Warnings,
) -> Result<Vec<M>, ReadError> {
    let Some(first) = target.read_u64(allm)? else {
        warnings.add(WarningCode::SchedulerPartUnreadable, format!("runtime.allm at {allm} cannot be read"));
        return Ok(Vec::new());
    };
    let mut unique = known.get(..known.len().min(MAX_MS)).unwrap_or(known).to_vec();
    unique.retain(|addr| !addr.is_nil());
    unique.sort_unstable();
    unique.dedup();
    let mut ahead: FxHashMap<Addr, M> = FxHashMap::default();
    bulk::for_each(target, &unique, layout.m.size, |index, bytes| {
        if let (Some(addr), Some(bytes)) = (unique.get(index), bytes)
            && let Some(m) = M::parse(*addr, bytes, &layout.m)
        {
            ahead.insert(*addr, m);
        }
    })?;
    let mut seen: HashSet<Addr, FxBuildHasher> = HashSet::default();
    let mut out = Vec::new();
    let mut next = Addr(first);
    while !next.is_nil() {
        if out.len() >= MAX_MS || !seen.insert(next) {
            warnings
                .add(WarningCode::LimitReached, format!("the list of Ms does not end: cut at {} of them", out.len()));
            break;
        }
        let m = match ahead.get(&next) {
            Some(m) => Some(*m),
            None => target.read_vec(next, layout.m.size as usize)?.and_then(|bytes| M::parse(next, &bytes, &layout.m)),
        };
        let Some(m) = m else {
            warnings.add(WarningCode::SchedulerPartUnreadable, format!("the M at {next} cannot be read"));
            break;
        };
        out.push(m);
        next = Addr(m.alllink);
    }
    Ok(out)
}

/// The Ms as the snapshot has them, in order of id. `os` gives the threads' states; `ps` tells the
/// ids of Ps.
///
/// # Errors
/// When the target could not be looked at.
pub fn read_threads(
    target: &dyn Target,
    ms: &[M],
    ps: &[P],
    os: &[ThreadInfo],
    layout: &Layout,
) -> Result<Vec<Thread>, ReadError> {
    let gs: Vec<Addr> = ms.iter().flat_map(|m| [Addr(m.curg), Addr(m.lockedg)]).collect();
    let ids = read_goids(target, &gs, layout)?;
    let p_ids: FxHashMap<u64, i32> = ps.iter().map(|p| (p.addr.0, p.id)).collect();
    let states: FxHashMap<i32, Option<char>> = os.iter().map(|thread| (thread.tid, thread.state)).collect();
    let mut threads: Vec<Thread> = ms
        .iter()
        .zip(ids.chunks(2))
        .map(|(m, ids)| {
            let tid = i32::try_from(m.procid).ok().filter(|tid| *tid > 0);
            Thread {
                id: m.id,
                addr: m.addr,
                tid,
                state: tid.and_then(|tid| states.get(&tid).copied()).flatten(),
                goroutine: ids.first().copied().flatten(),
                p: p_ids.get(&m.p).copied(),
                spinning: m.spinning,
                blocked: m.blocked,
                in_cgo: m.incgo,
                cgo_calls: Some(m.ncgocall),
                locked_goroutine: ids.get(1).copied().flatten(),
            }
        })
        .collect();
    threads.sort_by_key(|thread| (thread.id, thread.addr));
    Ok(threads)
}
