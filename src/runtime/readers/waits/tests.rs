use proptest::prelude::*;
use rustc_hash::FxHashMap;

use super::channels::{Channel, read_channels};
use super::parked::{Coroutine, Descriptor, List, Parked, Semaphore, search, try_words};
use super::sudogs::{Part, Queued, Waiter, read_sudogs};
use super::{BUDGET, timers};
use crate::addr::{Addr, Arch};
use crate::model::wait::{ChannelTimer, Direction, TimerSource, WaitUnknown};
use crate::process::Target as _;
use crate::process::fake::FakeTarget;
use crate::runtime::frontier::Frontier;
use crate::runtime::layout::{Layout, SUPPORTED_MINORS, checked_in};

const HEAP: u64 = 0xc000_0000;
const G: u64 = 0xd000_0000;

fn layout(minor: u32) -> Layout {
    Layout::resolve(checked_in(minor, Arch::Amd64).unwrap()).unwrap()
}

/// Memory of a program of one version, in which structures are written field by field.
struct Program {
    layout: Layout,
    target: FakeTarget,
}

/// Address of sudog number `n`, and of channel number `n`.
fn sudog(n: u64) -> u64 {
    HEAP + 0x100 * n
}

fn channel(n: u64) -> u64 {
    HEAP + 0x8_0000 + 0x100 * n
}

impl Program {
    fn new(minor: u32) -> Self {
        let target = FakeTarget::new(Arch::Amd64).with_segment(Addr(HEAP), vec![0; 1 << 20]);
        Self { layout: layout(minor), target }
    }

    fn put(&self, at: u64, structure: &str, field: &str, value: u64) {
        let offset = self.layout.table.offset(structure, field).unwrap();
        self.target.memory(|memory| memory.put_u64(Addr(at + u64::from(offset)), value));
    }

    /// From 1.26 on the pointer as it is comes second.
    fn put_pointer(&self, at: u64, field: &str, value: u64) {
        let offset = u64::from(self.layout.table.offset("runtime.sudog", field).unwrap());
        let second = if self.layout.sudog.unwrap().size == 104 { 8 } else { 0 };
        self.target.memory(|memory| memory.put_u64(Addr(at + offset + second), value));
    }

    /// Sudog `n`, of goroutine `n`, at a channel.
    fn put_sudog(&self, n: u64, at: u64, next: u64) {
        self.put(sudog(n), "runtime.sudog", "g", G + n);
        self.put(sudog(n), "runtime.sudog", "next", next);
        self.put_pointer(sudog(n), "c", at);
    }

    fn put_channel(&self, n: u64, length: u64, capacity: u64, [receivers, senders]: [u64; 2]) {
        for (field, value) in [("qcount", length), ("dataqsiz", capacity), ("elemtype", 1)] {
            self.put(channel(n), "runtime.hchan", field, value);
        }
        self.put(channel(n), "runtime.hchan", "recvq", receivers);
        self.put(channel(n), "runtime.hchan", "sendq", senders);
    }

    /// The sudogs of the goroutines `0..count`, and who has none that is right.
    fn queued(&self, count: u32, selects: bool) -> (Vec<Queued>, Vec<(u32, WaitUnknown)>) {
        let (mut queued, mut bad) = (Vec::new(), Vec::new());
        let operation = (!selects).then_some(Direction::Receive);
        let waiter = |number| Waiter { g: G + u64::from(number), number, operation };
        let firsts = (0..count).map(|n| (Addr(sudog(n.into())), waiter(n))).collect();
        let mut frontier = Frontier::new(&self.target, BUDGET);
        let sudog = self.layout.sudog.as_ref().unwrap();
        read_sudogs(&mut frontier, sudog, firsts, &mut queued, |n, why| bad.push((n, why))).unwrap();
        (queued, bad)
    }

    /// Each channel of those, with the directions of its waiters in order of their sudogs.
    fn channels(&self, queued: &mut [Queued]) -> Vec<(u64, Option<Channel>, Vec<Option<Direction>>)> {
        let mut found = Vec::new();
        let mut frontier = Frontier::new(&self.target, BUDGET);
        let layouts = (self.layout.hchan.as_ref().unwrap(), self.layout.sudog.as_ref().unwrap());
        read_channels(&mut frontier, &self.target, layouts, queued, |addr, channel, group| {
            found.push((addr.0, channel, group.iter().map(|one| one.direction).collect()));
        })
        .unwrap();
        found
    }
}

#[test]
fn queues_say_who_sends_and_who_receives() {
    use Direction::{Receive, Send};
    for &minor in SUPPORTED_MINORS {
        let program = Program::new(minor);
        // Goroutines 0 and 2 receive, and one between them that nobody has read; 1 sends.
        program.put_sudog(0, channel(0), sudog(9));
        program.put_sudog(9, channel(0), sudog(2));
        program.put_sudog(2, channel(0), 0);
        program.put_sudog(1, channel(0), 0);
        program.put_channel(0, 1, 3, [sudog(0), sudog(1)]);
        let (mut queued, bad) = program.queued(3, false);
        assert_eq!((queued.len(), bad.len()), (3, 0), "1.{minor}");
        let found = program.channels(&mut queued);
        let [(addr, Some(of), directions)] = found.as_slice() else { panic!("1.{minor}: {found:?}") };
        assert_eq!((*addr, of.senders, of.receivers), (channel(0), Some(1), Some(3)), "1.{minor}");
        assert_eq!((of.hchan.qcount, of.hchan.dataqsiz), (1, 3));
        assert_eq!(directions, &[Some(Receive), Some(Send), Some(Receive)]);
    }
}

#[test]
fn queues_that_do_not_end_are_left() {
    let of = |nexts: [u64; 3], queues: [u64; 2]| {
        let program = Program::new(24);
        for (n, next) in (0..).zip(nexts) {
            program.put_sudog(n, channel(0), next);
        }
        program.put_channel(0, 0, 0, queues);
        let mut queued = program.queued(3, false).0;
        let found = program.channels(&mut queued);
        let channel = found[0].1.unwrap();
        (channel.receivers, channel.senders, program.target.stats().syscalls)
    };
    // In circles, of all and of one, and from one queue into the other.
    assert_eq!(of([sudog(1), sudog(2), sudog(0)], [sudog(0), 0]).0, None);
    assert_eq!(of([sudog(0), 0, 0], [sudog(0), 0]).0, None);
    let (receivers, senders, _) = of([sudog(1), 0, 0], [sudog(0), sudog(1)]);
    assert_eq!((receivers, senders), (Some(2), None));
    // To nothing, and to what is queued elsewhere.
    assert_eq!(of([8, 0, 0], [sudog(0), 0]).0, None);
    assert_eq!(of([sudog(50), 0, 0], [sudog(0), 0]).0, None);
    // In a circle of strangers.
    let program = Program::new(24);
    program.put_sudog(0, channel(0), sudog(7));
    program.put_sudog(7, channel(0), sudog(8));
    program.put_sudog(8, channel(0), sudog(7));
    program.put_channel(0, 0, 0, [sudog(0), 0]);
    let mut queued = program.queued(1, false).0;
    assert_eq!(program.channels(&mut queued)[0].1.unwrap().receivers, None);
    assert!(program.target.stats().syscalls < 10);
}

#[test]
fn who_is_in_no_queue_is_not_said_to_wait() {
    let program = Program::new(26);
    program.put_sudog(0, channel(0), 0);
    program.put_channel(0, 0, 0, [0, 0]);
    let mut queued = program.queued(1, false).0;
    let (_, of, directions) = &program.channels(&mut queued)[0];
    assert_eq!((of.unwrap().receivers, directions.as_slice()), (Some(0), &[None][..]));
    // More elements than there is room for.
    program.put_channel(0, 4, 3, [sudog(0), 0]);
    let mut queued = program.queued(1, false).0;
    assert!(program.channels(&mut queued)[0].1.is_none());
}

#[test]
fn sudogs_of_others_are_refused() {
    let program = Program::new(21);
    program.put_sudog(0, channel(0), 0);
    program.put_sudog(1, channel(0), 0);
    program.put(sudog(1), "runtime.sudog", "g", G + 77);
    program.put_sudog(2, 0, 0);
    let (queued, bad) = program.queued(3, false);
    assert_eq!(queued.iter().map(|one| one.waiter).collect::<Vec<_>>(), [0]);
    assert_eq!(bad, [(1, WaitUnknown::Malformed), (2, WaitUnknown::Malformed)]);
}

#[test]
fn cases_are_followed_for_a_limited_number_of_steps() {
    let program = Program::new(27);
    let select = u64::from(program.layout.table.offset("runtime.sudog", "isSelect").unwrap());
    for n in 0..2 {
        program.put_sudog(n, channel(n), 0);
        program.put(sudog(n), "runtime.sudog", "g", G);
        program.target.memory(|memory| memory.put(Addr(sudog(n) + select), &[1]));
    }
    program.put(sudog(0), "runtime.sudog", "waitlink", sudog(1));
    let (queued, bad) = program.queued(1, true);
    let orders: Vec<(u16, Part)> = queued.iter().map(|one| (one.order, one.part)).collect();
    assert_eq!((orders, bad.len()), (vec![(0, Part::Case), (1, Part::LastCase)], 0));
    program.put(sudog(1), "runtime.sudog", "waitlink", sudog(0));
    let (queued, bad) = program.queued(1, true);
    assert_eq!((queued.len(), bad), (1024, vec![(0, WaitUnknown::Limit)]));
}

/// A goroutine with the words `words` on its stack.
fn parked(program: &Program, words: &[u64]) -> Parked {
    let sp = HEAP + 0xf_0000;
    for (n, word) in (0..).zip(words) {
        program.target.memory(|memory| memory.put_u64(Addr(sp + 8 * n), *word));
    }
    Parked { waiter: 5, g: G, sp, hi: sp + 8 * words.len() as u64, word: words.first().copied().unwrap_or(0) }
}

#[test]
fn descriptors_name_themselves_and_their_goroutines() {
    for &minor in SUPPORTED_MINORS {
        let program = Program::new(minor);
        let layout = program.layout.poll_desc.unwrap();
        let desc = channel(3);
        for (field, value) in [("fd", 7), ("wg", G), ("wd", 99), ("self", desc)] {
            program.put(desc, "runtime.pollDesc", field, value);
        }
        let of = |one: Parked| {
            let mut frontier = Frontier::new(&program.target, BUDGET);
            let found = search(&mut frontier, &Descriptor(&layout), &[one], |_, _| Ok(true)).unwrap();
            found.first().map(|(of, word)| (of.found.fd, of.found.direction, of.found.deadline_ns, *word))
        };
        let known = |word| Some((7, Direction::Send, Some(99), word));
        assert_eq!(of(parked(&program, &[0, 12, desc])), known(2), "1.{minor}");
        // By a pointer to the field in which the goroutine is.
        assert_eq!(of(parked(&program, &[desc + u64::from(layout.wg)])), known(0), "1.{minor}");
        assert_eq!(of(parked(&program, &[desc + 8, desc + 4, u64::MAX])), None, "1.{minor}");
        let one = parked(&program, &[0, desc]);
        assert_eq!(of(Parked { g: G + 8, ..one }), None, "1.{minor}");
        program.put(desc, "runtime.pollDesc", "self", desc + 8);
        assert_eq!(of(one), None, "1.{minor}");
        program.put(desc, "runtime.pollDesc", "self", desc);
        program.put(desc, "runtime.pollDesc", "fd", 1 << 40);
        assert_eq!(of(one), None, "1.{minor}");
    }
}

#[test]
fn semaphores_are_those_that_a_goroutine_is_queued_at_now() {
    let program = Program::new(22);
    let wanted = Semaphore(program.layout.sudog.as_ref().unwrap());
    program.put(sudog(0), "runtime.sudog", "g", G);
    let of = || {
        let mut frontier = Frontier::new(&program.target, BUDGET);
        let one = parked(&program, &[sudog(0)]);
        let (found, left) = try_words(&mut frontier, &wanted, &[one], |_, _| Ok(true)).unwrap();
        (found.first().map(|of| of.found), left.len())
    };
    // It was used before.
    assert_eq!(of(), (None, 1));
    program.put(sudog(0), "runtime.sudog", "elem", 0xbeec);
    assert_eq!(of(), (Some(0xbeec), 0));
    program.put(sudog(0), "runtime.sudog", "c", channel(0));
    assert_eq!(of(), (None, 1));
}

#[test]
fn what_is_not_confirmed_is_searched_for_further_out() {
    let program = Program::new(22);
    let wanted = Coroutine(program.layout.coro.as_ref().unwrap());
    for at in [channel(1), channel(2)] {
        program.put(at, "runtime.coro", "gp", G);
    }
    let one = parked(&program, &[channel(1), 3, channel(2)]);
    let mut frontier = Frontier::new(&program.target, BUDGET);
    let found = search(&mut frontier, &wanted, &[one], |_, coro| Ok(*coro == channel(2))).unwrap();
    let found: Vec<_> = found.iter().map(|(of, word)| (of.waiter, of.found, *word)).collect();
    assert_eq!(found, [(5, channel(2), 2)]);
}

#[test]
fn timers_lead_to_channels() {
    for (minor, slice, step) in [(21, "timers", 8), (24, "heap", 16)] {
        let program = Program::new(minor);
        let p = HEAP + 0x4_0000;
        let timers = u64::from(program.layout.table.offset("runtime.p", "timers").unwrap());
        let within = if slice == "heap" { program.layout.table.offset("runtime.timers", "heap").unwrap() } else { 0 };
        let (array, put) = (HEAP + 0x7_0000, |at: u64, value: u64| {
            program.target.memory(|memory| memory.put_u64(Addr(at), value));
        });
        let header = p + timers + u64::from(within);
        put(header, array);
        put(header + 8, 2);
        // One of time.After, and one of a context, whose closure has the context second.
        let (plain, context, closure, done) = (channel(10), channel(11), channel(12), channel(13));
        put(array, plain);
        put(array + step, context);
        let arg = u64::from(program.layout.table.offset("runtime.timer", "arg").unwrap());
        for (timer, data, when) in [(plain, channel(0), 500), (context, closure, 600)] {
            program.put(timer, "runtime.timer", "when", when);
            put(timer + arg + 8, data);
        }
        put(closure + 16, done);
        put(done + 32, channel(1));
        let channels: FxHashMap<u64, u32> = [(channel(0), 40), (channel(1), 41)].into_iter().collect();
        let found = |program: &Program| {
            let layouts = (&program.layout.p, program.layout.timer.as_ref().unwrap());
            let mut found = Vec::new();
            let [mut frontier, mut searching] = [(); 2].map(|()| Frontier::new(&program.target, BUDGET));
            let frontiers = (&mut frontier, &mut searching);
            timers::search(frontiers, layouts, &[Addr(p)], &channels, |n, timer| found.push((n, timer))).unwrap();
            found
        };
        let timer = |deadline_ns, source| ChannelTimer { deadline_ns, period_ns: 0, source };
        let both = [(40, timer(500, TimerSource::Time)), (41, timer(600, TimerSource::Context))];
        assert_eq!(found(&program), both, "1.{minor}");
        // A length that nothing has.
        put(header + 8, u64::MAX);
        assert!(found(&program).len() <= 2, "1.{minor}");
        put(header, u64::MAX - 8);
        assert!(found(&program).is_empty(), "1.{minor}");
    }
}

proptest! {
    #[test]
    fn arbitrary_memory_is_survived(
        minor in prop_oneof![Just(19_u32), Just(24), Just(27)],
        words in proptest::collection::vec(prop_oneof![
            Just(0_u64), Just(1), Just(G), (0_u64..64).prop_map(|n| HEAP + 8 * n), any::<u64>(),
        ], 64..512),
    ) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let target = FakeTarget::new(Arch::Amd64).with_segment(Addr(HEAP), bytes);
        let program = Program { layout: layout(minor), target };
        for selects in [false, true] {
            let mut queued = program.queued(4, selects).0;
            prop_assert!(queued.len() <= 4 * 1024);
            let _ = program.channels(&mut queued);
        }
        let one = Parked { waiter: 0, g: G, sp: HEAP, hi: HEAP + 2048, word: HEAP };
        let mut frontier = Frontier::new(&program.target, BUDGET);
        let list = List { layout: program.layout.notify_list.as_ref().unwrap(), in_cond: 16 };
        let desc = Descriptor(program.layout.poll_desc.as_ref().unwrap());
        let semaphore = Semaphore(program.layout.sudog.as_ref().unwrap());
        let _ = search(&mut frontier, &list, &[one], |_, _| Ok(true)).unwrap();
        let _ = search(&mut frontier, &desc, &[one], |_, _| Ok(true)).unwrap();
        let _ = search(&mut frontier, &semaphore, &[one], |_, _| Ok(true)).unwrap();
    }
}
