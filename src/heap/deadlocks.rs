//! Deadlocks among leaked goroutines, by reachability: sets of goroutines that only each other can wake.
//!
//! A goroutine that waits for an object can be woken by any goroutine that reaches the object. Others that wait for
//! the same object do not count: they reach it because they wait for it. Goroutines that can be woken by each other,
//! and by no other goroutine, while all of them wait, are a deadlock.

/// What a goroutine, or several that wait for the same, wait for and reach: numbers of objects.
#[derive(Clone, Debug, Default)]
pub(super) struct Reached {
    /// Ascending or not.
    pub(super) waits_for: Vec<usize>,
    /// Ascending.
    pub(super) reaches: Vec<usize>,
}

impl Reached {
    /// Whether it may wake one that waits for this object.
    fn may_wake(&self, object: usize) -> bool {
        self.reaches.binary_search(&object).is_ok() && !self.waits_for.contains(&object)
    }
}

/// The deadlocks among the first `alone`, which are one goroutine each; the rest only reach.
pub(super) fn deadlocks(all: &[Reached], alone: usize) -> Vec<Vec<usize>> {
    let objects = all.iter().flat_map(|one| one.reaches.iter().chain(&one.waits_for)).max().map_or(0, |most| most + 1);
    let mut wakers: Vec<Vec<usize>> = vec![Vec::new(); objects];
    for (at, one) in all.iter().enumerate() {
        for &object in one.reaches.iter().filter(|object| one.may_wake(**object)) {
            if let Some(wakers) = wakers.get_mut(object) {
                wakers.push(at);
            }
        }
    }
    let woken_by = |at: usize| {
        let objects = all.get(at).map_or(&[][..], |one| one.waits_for.as_slice());
        objects.iter().filter_map(|object| wakers.get(*object)).flatten().copied()
    };
    let alone = alone.min(all.len());
    let edges: Vec<Vec<usize>> = (0..alone)
        .map(|at| {
            let mut next: Vec<usize> = woken_by(at).collect();
            next.sort_unstable();
            next.dedup();
            next
        })
        .collect();
    let mut found = components(&edges);
    // Nobody else may wake one of them.
    found.retain(|members| {
        members.len() > 1
            && members.iter().filter_map(|at| edges.get(*at)).flatten().all(|next| members.binary_search(next).is_ok())
    });
    found
}

/// Sets of nodes that all reach each other (Tarjan's algorithm, without recursion), each ascending. An edge to a
/// node that is none leads nowhere.
fn components(edges: &[Vec<usize>]) -> Vec<Vec<usize>> {
    const UNSEEN: usize = usize::MAX;
    let mut order = vec![UNSEEN; edges.len()];
    let mut low = vec![UNSEEN; edges.len()];
    let mut on_stack = vec![false; edges.len()];
    let (mut stack, mut out, mut count) = (Vec::new(), Vec::new(), 0);
    let get = |list: &[usize], at: usize| list.get(at).copied().unwrap_or(UNSEEN);
    for root in 0..edges.len() {
        if get(&order, root) != UNSEEN {
            continue;
        }
        let mut path: Vec<(usize, usize)> = vec![(root, 0)];
        while let Some((at, tried)) = path.last_mut() {
            let at = *at;
            if *tried == 0 && get(&order, at) == UNSEEN {
                set(&mut order, at, count);
                set(&mut low, at, count);
                set(&mut on_stack, at, true);
                stack.push(at);
                count += 1;
            }
            let next = edges.get(at).and_then(|edges| edges.get(*tried)).copied();
            *tried += 1;
            match next {
                Some(next) if next >= edges.len() => {}
                Some(next) if get(&order, next) == UNSEEN => path.push((next, 0)),
                Some(next) => {
                    if on_stack.get(next).copied().unwrap_or(false) {
                        let least = get(&low, at).min(get(&order, next));
                        set(&mut low, at, least);
                    }
                }
                None => {
                    path.pop();
                    if let Some((before, _)) = path.last() {
                        let least = get(&low, *before).min(get(&low, at));
                        set(&mut low, *before, least);
                    }
                    if get(&low, at) == get(&order, at) {
                        let mut members = Vec::new();
                        while let Some(member) = stack.pop() {
                            set(&mut on_stack, member, false);
                            members.push(member);
                            if member == at {
                                break;
                            }
                        }
                        members.sort_unstable();
                        out.push(members);
                    }
                }
            }
        }
    }
    out
}

fn set<T>(list: &mut [T], at: usize, value: T) {
    if let Some(slot) = list.get_mut(at) {
        *slot = value;
    }
}

#[cfg(test)]
mod tests {
    use super::{Reached, components, deadlocks};

    fn found(all: &[(&[usize], &[usize])], alone: usize) -> Vec<Vec<usize>> {
        let one = |(waits_for, reaches): &(&[usize], &[usize])| Reached {
            waits_for: waits_for.to_vec(),
            reaches: reaches.to_vec(),
        };
        let mut found = deadlocks(&all.iter().map(one).collect::<Vec<_>>(), alone);
        found.sort();
        found
    }

    #[test]
    fn who_waits_for_what_only_the_others_reach() {
        // Two locks in two orders.
        assert_eq!(found(&[(&[0], &[0, 1]), (&[1], &[0, 1])], 2), [[0, 1]]);
        // A ring of three, and one that waits for the same as one of them.
        let ring: [(&[usize], &[usize]); 4] = [(&[0], &[0, 2]), (&[1], &[0, 1]), (&[2], &[1, 2]), (&[0], &[0])];
        assert_eq!(found(&ring, 4), [[0, 1, 2]]);
        // The same, but the fourth reaches another of the ring's objects: it may wake one of them.
        let woken: [(&[usize], &[usize]); 4] = [(&[0], &[0, 2]), (&[1], &[0, 1]), (&[2], &[1, 2]), (&[3], &[0, 3])];
        assert_eq!(found(&woken, 4), Vec::<Vec<usize>>::new());
        assert_eq!(found(&woken, 3), Vec::<Vec<usize>>::new(), "one that is not looked at alone counts too");
    }

    #[test]
    fn who_was_left_behind_is_in_no_deadlock() {
        // All receive from one channel; one waits for its own; one selects on what nobody else has.
        assert_eq!(found(&[(&[0], &[0]), (&[0], &[0]), (&[1], &[1]), (&[2, 3], &[2, 3])], 4), Vec::<Vec<usize>>::new());
        // A chain: the second could be woken by the first, and nobody wakes that.
        assert_eq!(found(&[(&[0], &[0, 1]), (&[1], &[1])], 2), Vec::<Vec<usize>>::new());
        assert_eq!(found(&[], 0), Vec::<Vec<usize>>::new());
        assert_eq!(found(&[(&[], &[]), (&[7], &[])], 9), Vec::<Vec<usize>>::new());
    }

    /// Against reachability worked out node by node.
    #[test]
    fn components_are_what_reach_each_other() {
        let mut seed = 7_u64;
        let mut random = move |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(seed >> 33).unwrap() % below
        };
        for _ in 0..300 {
            let nodes = 1 + random(9);
            let edges: Vec<Vec<usize>> =
                (0..nodes).map(|_| (0..random(4)).map(|_| random(nodes + 1)).collect()).collect();
            let mut reach = vec![vec![false; nodes]; nodes];
            for (at, reach) in reach.iter_mut().enumerate() {
                let mut next = vec![at];
                while let Some(from) = next.pop() {
                    if !std::mem::replace(&mut reach[from], true) {
                        next.extend(edges[from].iter().copied().filter(|to| *to < nodes));
                    }
                }
            }
            let mut want: Vec<Vec<usize>> =
                (0..nodes).map(|a| (0..nodes).filter(|b| reach[a][*b] && reach[*b][a]).collect()).collect();
            want.sort();
            want.dedup();
            let mut found = components(&edges);
            found.sort();
            assert_eq!(found, want, "{edges:?}");
        }
    }

    #[test]
    fn a_long_ring_is_no_recursion() {
        let edges: Vec<Vec<usize>> = (0..100_000).map(|at| vec![(at + 1) % 100_000]).collect();
        assert_eq!(components(&edges).len(), 1);
    }
}
