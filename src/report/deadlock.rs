//! Goroutines that wait for each other, in words.

use super::clean::clean;
use super::place::PlaceWords;
use super::units::count;
use crate::analysis::waits::ById;
use crate::analysis::{Index, PlaceKind};
use crate::model::{Goid, Goroutine};

/// Members that are named.
const MEMBERS: usize = 8;

/// `goroutines 18 and 19 wait for each other; nothing else can wake them`; ids ascending.
pub(crate) fn sentence(ids: &[u64]) -> String {
    format!("goroutines {} wait for each other; nothing else can wake them", names(ids))
}

fn names(ids: &[u64]) -> String {
    let shown: Vec<String> = ids.iter().take(MEMBERS).map(u64::to_string).collect();
    match (ids.len().saturating_sub(MEMBERS), shown.split_last()) {
        (0, Some((last, rest))) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        (0, _) => shown.join(", "),
        (more, _) => format!("{} and {} more", shown.join(", "), count(more as u64)),
    }
}

/// What each of the first waits for, and where: `18 waits to lock Mutex 0xc000012028 at main.transfer main.go:44`.
pub(crate) fn members(index: &Index<'_>, by_id: &ById, ids: &[u64]) -> Vec<String> {
    let snapshot = index.snapshot();
    let line = |id: &u64| {
        let goroutine = snapshot.goroutines.get(by_id.position(Goid(*id))?)?;
        let waits = waits(index, goroutine);
        let place = PlaceWords::of(&snapshot.symbols, index.place(goroutine, PlaceKind::User));
        let place = place.map(|words| format!(" at {} {}", words.function, words.source)).unwrap_or_default();
        Some(format!("{id} {waits}{place}").trim_end().to_owned())
    };
    ids.iter().take(MEMBERS).filter_map(line).collect()
}

/// What it waits for; without the reports for people, in the runtime's words.
fn waits(index: &Index<'_>, goroutine: &Goroutine) -> String {
    #[cfg(feature = "cli")]
    if let Some(words) = super::waits::words::waits(index.snapshot(), goroutine) {
        return words;
    }
    clean(index.state_text(goroutine)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::sentence;

    #[test]
    fn two_several_and_many() {
        assert_eq!(sentence(&[18, 19]), "goroutines 18 and 19 wait for each other; nothing else can wake them");
        assert_eq!(sentence(&[1, 2, 3]), "goroutines 1, 2 and 3 wait for each other; nothing else can wake them");
        let many: Vec<u64> = (1..=1_010).collect();
        assert!(sentence(&many).starts_with("goroutines 1, 2, 3, 4, 5, 6, 7, 8 and 1,002 more wait for each other; "));
    }
}
