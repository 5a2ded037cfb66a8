use super::*;
use crate::capture::Session;
use crate::capture::testing::session;
use crate::model::{Goid, StackState};
use crate::process::fake::FakeTarget;
use crate::process::recording::RecordingTarget;
use crate::process::{Backend, Descriptor, FreezeWhich, Target};
use crate::runtime::layout::Layout;
use crate::runtime::mirror::Mirror as _;

const M_ADDR: u64 = 0x10_0000;
const CURG: u64 = 0x21_0000;
const STACK: u64 = 0x30_0000;
const TID: Tid = 77;
const READ: SystemCall = SystemCall { number: 0, arguments: [7, STACK, 16, 0, 0, 0] };

fn put(bytes: &mut [u8], at: u32, value: u64) {
    bytes[at as usize..at as usize + 8].copy_from_slice(&value.to_le_bytes());
}

fn m_bytes(layout: &Layout, in_c: bool) -> Vec<u8> {
    let mut bytes = vec![0; layout.m.size as usize];
    put(&mut bytes, layout.m.curg, CURG);
    put(&mut bytes, layout.m.procid, 77);
    put(&mut bytes, layout.m.syscalltick, 5);
    bytes[layout.m.incgo as usize] = u8::from(in_c);
    bytes
}

fn target(layout: &Layout, in_c: bool) -> FakeTarget {
    let mut g = vec![0; layout.g.size as usize];
    put(&mut g, layout.g.goid, 9);
    put(&mut g, layout.g.atomicstatus, 3);
    put(&mut g, layout.g.m, M_ADDR);
    put(&mut g, layout.g.stack_lo, STACK);
    put(&mut g, layout.g.stack_hi, STACK + 0x1000);
    put(&mut g, layout.g.syscallsp, STACK + 0x800);
    let known = [(7, Descriptor::Epoll), (8, Descriptor::Inotify)];
    FakeTarget::new(Arch::Amd64)
        .with_segment(Addr(M_ADDR), m_bytes(layout, in_c))
        .with_segment(Addr(CURG), g)
        .with_segment(Addr(STACK), vec![0; 0x1000])
        .with_descriptors(known.into_iter().collect())
}

fn blocked(call: Option<SystemCall>, sp: u64) -> ThreadActivity {
    ThreadActivity::Blocked { call, sp: Addr(sp), pc: Addr(0x1234) }
}

/// The goroutine as the walk captured it.
fn goroutine(session: &mut Session) -> Goroutine {
    let snapshot = session.capture(&crate::capture::CaptureOptions::default()).unwrap();
    let mut goroutine = snapshot.goroutines[0].clone();
    (goroutine.id, goroutine.addr, goroutine.status) = (Goid(9), Addr(CURG), Status::Syscall);
    (goroutine.m, goroutine.sp) = (Some(Addr(M_ADDR)), Addr(STACK + 0x800));
    goroutine.stack = StackState::NotShown(crate::model::NotShown::NotAsked);
    goroutine
}

/// Looks at `target`, whose M was as in `in_c` before the goroutines were read.
fn outside(target: &dyn Target, in_c: bool, change: impl Fn(&mut Goroutine)) -> (Outside, Looks, NotInGo) {
    let mut session = session();
    let mut goroutine = goroutine(&mut session);
    change(&mut goroutine);
    let (program, runtime) = (session.process().program, session.runtime());
    let process = GoProcess { target, program, runtime };
    let m = M::parse(Addr(M_ADDR), &m_bytes(&runtime.layout, in_c), &runtime.layout.m).unwrap();
    let looks = Looks::read(process, &[m], &Default::default()).unwrap();
    let mut pool = SymbolPool::default();
    let all = looks.attach(process, &[goroutine], &mut CStacks::default(), &mut pool);
    record(process, &all, &pool);
    (all.get(Addr(CURG)).unwrap().clone(), looks, all)
}

fn layout() -> Layout {
    session().runtime().layout.clone()
}

#[test]
fn a_goroutine_in_a_system_call_has_its_call_and_its_descriptors() {
    let layout = layout();
    let target = target(&layout, false).with_activities(TID, [blocked(Some(READ), STACK + 0x700)]);
    let (found, looks, _) = outside(&target, false, |_| {});
    assert_eq!((found.activity, found.in_c, &found.polled), (Activity::In(READ), false, &vec![]));
    assert_eq!(found.descriptors(Arch::Amd64).collect::<Vec<_>>(), [7]);
    assert_eq!(looks.descriptors.iter().collect::<Vec<_>>(), [(7, &Descriptor::Epoll)]);
    for (activity, wanted) in [
        (ThreadActivity::Running, Activity::Running),
        (blocked(None, STACK + 0x100), Activity::Blocked),
        (ThreadActivity::Unknown("it is refused".into()), Activity::Unknown),
        (ThreadActivity::Ended, Activity::Moved),
    ] {
        let target = self::target(&layout, false).with_activities(TID, [activity]);
        let (found, looks, all) = outside(&target, false, |_| {});
        assert_eq!(found.activity, wanted);
        assert_eq!(all.why_unknown(), (wanted == Activity::Unknown).then_some("it is refused"));
        assert_eq!(looks.descriptors.iter().count(), 0);
    }
}

#[test]
fn what_moved_is_said_to_have_moved() {
    let layout = layout();
    let inside = STACK + 0x700;
    // The thread is elsewhere than on the goroutine's stack below where it left Go.
    for sp in [STACK - 8, STACK + 0x808, STACK + 0x1000] {
        let target = self::target(&layout, false).with_activities(TID, [blocked(Some(READ), sp)]);
        let (found, _, all) = outside(&target, false, |_| {});
        assert_eq!(found.activity, Activity::Unknown, "{sp:#x}");
        assert!(all.why_unknown().unwrap().contains("signal handler"));
    }
    // It is in C, and its thread in code of Go.
    let text = session().process().program.module.text.start;
    let handler = ThreadActivity::Blocked { call: Some(READ), sp: Addr(0x7ffe_0000), pc: Addr(text) };
    let target = self::target(&layout, true).with_activities(TID, [handler]);
    assert_eq!(outside(&target, true, |_| {}).0.activity, Activity::Unknown);
    // The M or the goroutine is in another call now.
    let m = |at: u32| M_ADDR + u64::from(at);
    let g = |at: u32| CURG + u64::from(at);
    for (at, value) in [
        (m(layout.m.curg), CURG + 8),
        (m(layout.m.procid), 78),
        (m(layout.m.syscalltick), 6),
        (m(layout.m.incgo), 1),
        (m(layout.m.ncgocall), 1),
        (g(layout.g.goid), 10),
        (g(layout.g.m), M_ADDR + 8),
        (g(layout.g.syscallsp), STACK + 0x900),
    ] {
        let target = self::target(&layout, false).with_activities(TID, [blocked(Some(READ), inside)]);
        target.memory(|memory| memory.put_u64(Addr(at), value));
        assert_eq!(outside(&target, false, |_| {}).0.activity, Activity::Moved, "{at:#x}");
    }
    // It left its system call after its thread was looked at: before that it must be in one.
    let seen = std::sync::atomic::AtomicUsize::new(0);
    let status = g(layout.g.atomicstatus);
    let target = self::target(&layout, false).with_activities(TID, [blocked(Some(READ), inside)]).with_hook(
        move |_, range, memory| {
            if range.start.0 == CURG && seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 1 {
                memory.put(Addr(status), &[2]);
            }
            Default::default()
        },
    );
    assert_eq!(outside(&target, false, |_| {}).0.activity, Activity::Moved);
    // It was captured as another one, or elsewhere.
    let changes: [fn(&mut Goroutine); 3] =
        [|g| g.id = Goid(8), |g| g.sp = Addr(STACK + 0x7f8), |g| g.m = Some(Addr(M_ADDR + 8))];
    for change in changes {
        let target = self::target(&layout, false).with_activities(TID, [blocked(Some(READ), inside)]);
        assert_eq!(outside(&target, false, change).0.activity, Activity::Moved);
    }
}

#[test]
fn in_c_the_stack_may_be_anywhere_and_poll_names_its_descriptors() {
    let layout = layout();
    let poll = |array, count| SystemCall { number: 7, arguments: [array, count, u64::MAX, 0, 0, 0] };
    let entries =
        |fds: &[i32]| fds.iter().flat_map(|fd| [fd.to_le_bytes(), [1, 0, 0, 0]].concat()).collect::<Vec<u8>>();
    for (call, fds, polled) in [
        (poll(STACK, 2), vec![7, 8], vec![7, 8]),
        (poll(STACK, 3), vec![7, -1, 1000], vec![7, 1000]),
        (poll(STACK, u64::MAX), vec![5; 40], vec![5; MAX_POLLED]),
        (poll(STACK, 0), vec![7], vec![]),
        (poll(0x9999_0000, 2), vec![7], vec![]),
        (poll(STACK + 0x1000 - 12, 2), vec![], vec![0]),
    ] {
        let target = target(&layout, true).with_activities(TID, [blocked(Some(call), 0x7ffe_0000)]);
        target.memory(|memory| memory.put(Addr(STACK), &entries(&fds)));
        let (found, looks, _) = outside(&target, true, |_| {});
        assert_eq!((found.activity, found.in_c), (Activity::In(call), true));
        assert_eq!(found.polled, polled);
        let known = looks.descriptors.iter().map(|(fd, _)| fd).collect::<BTreeSet<_>>();
        assert_eq!(known, polled.into_iter().collect());
    }
}

#[test]
fn a_stopped_program_is_read_the_same() {
    let layout = layout();
    let target = target(&layout, false).with_activities(TID, [blocked(Some(READ), STACK + 0x700)]);
    let mut session = session();
    let goroutine = goroutine(&mut session);
    let process = GoProcess { target: &target, program: session.process().program, runtime: session.runtime() };
    let m = M::parse(Addr(M_ADDR), &m_bytes(&layout, false), &layout.m).unwrap();
    let frozen = target.freeze(&FreezeWhich::All).unwrap();
    let mut looks = Looks::read_frozen(process, &[m], frozen.as_ref()).unwrap();
    assert_eq!(looks.descriptors.iter().count(), 0);
    drop(frozen);
    looks.add_descriptors(process, &Default::default()).unwrap();
    let all = looks.attach(process, &[goroutine], &mut CStacks::default(), &mut SymbolPool::default());
    assert_eq!(all.get(Addr(CURG)).unwrap().activity, Activity::In(READ));
    assert_eq!(looks.descriptors.get(7), Some(&Descriptor::Epoll));
}

#[test]
fn a_recording_gives_the_same_and_a_damaged_one_is_refused() {
    let layout = layout();
    let target = target(&layout, false).with_activities(TID, [blocked(Some(READ), STACK + 0x700)]);
    let recording = RecordingTarget::new(Box::new(target));
    let (_, looks, all) = outside(&recording, false, |_| {});
    let kept = |key: &str| recording.remembered_in_recording(key).unwrap();
    let recorded = |key: &str, bytes: Vec<u8>| {
        let mut target = FakeTarget::new(Arch::Amd64);
        for known in [KEY, "descriptors"] {
            let mut found = kept(known);
            if known == key {
                found.bytes.clone_from(&bytes);
            }
            target = target.with_remembered(known, found);
        }
        target
    };
    let session = session();
    let read = |target: &dyn Target| {
        let process = GoProcess { target, program: session.process().program, runtime: session.runtime() };
        super::recorded(process, &mut SymbolPool::default())
    };
    let whole = recorded("", Vec::new());
    assert_eq!(read(&whole).unwrap(), Some((all, looks.descriptors)));
    for key in [KEY, "descriptors"] {
        let cut = kept(key).bytes[1..].to_vec();
        assert!(matches!(read(&recorded(key, cut)), Err(ReadError::Damaged { .. })), "{key}");
    }
    // An older capture has neither.
    assert_eq!(read(&FakeTarget::new(Arch::Amd64)).unwrap(), None);
    assert_eq!(whole.backend(), Backend::Fake);
}
