//! What to say when a filter leaves nothing to show.

use super::clean::clean;
use super::units::{count, counted};
use crate::analysis::{Filter, Index};

/// Lines that say that no goroutine matches `filter` (typed as `text`), of `total`, and what was
/// probably meant. Where some match and are not shown for another reason, `but` is that reason, and
/// what to do about it. Cleaned.
#[must_use]
pub(crate) fn none_match(index: &Index<'_>, total: u64, text: &str, filter: &Filter, but: &str) -> Vec<String> {
    let goroutines = &index.snapshot().goroutines;
    let alive = |filter: &Filter| -> u64 {
        let selected = filter.select(index);
        let alive = selected.iter().filter(|&&at| goroutines.get(at).is_some_and(|g| !g.status.is_dead()));
        u64::try_from(alive.count()).unwrap_or(u64::MAX)
    };
    let text = clean(text);
    let matching = alive(filter);
    if matching > 0 {
        return vec![format!("{text} matches {}, {but}", counted(matching, "goroutine", "goroutines"))];
    }
    let mut lines = vec![format!("no goroutine matches {text}, of {}", count(total))];
    if let Some((typed, looser)) = filter.with_parts()
        && let found @ 1.. = alive(&looser)
    {
        let typed = clean(&typed).into_owned();
        lines.push(format!("= needs the whole text; {typed} finds {}", counted(found, "goroutine", "goroutines")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::none_match;
    use crate::analysis::{Counts, Filter, Index};
    use crate::model::Status;
    use crate::model::testing::{GoroutineSpec, SnapshotBuilder, frame};

    #[test]
    fn what_was_meant_is_said_where_it_would_have_found_something() {
        let mut builder = SnapshotBuilder::new();
        for id in 1..=1_500 {
            let frames = vec![frame("main.(*Pool).worker", "/app/w.go", 3)];
            let system = id <= 2;
            builder.add(&GoroutineSpec { id, reason: Some("chan receive"), frames, system, ..Default::default() });
        }
        builder.add(&GoroutineSpec { id: 9_999, status: Status::Dead, ..Default::default() });
        let snapshot = builder.build();
        let index = Index::new(&snapshot);
        let lines = |text: &str| {
            none_match(
                &index,
                Counts::of(&snapshot).total,
                text,
                &Filter::parse(text).expect("a filter"),
                "all the runtime's own",
            )
            .join("\n")
        };
        let of = "of 1,500";
        assert_eq!(
            lines("func=worker"),
            format!(
                "no goroutine matches func=worker, {of}\n= needs the whole text; func~worker finds 1500 goroutines"
            )
            .replace("1500", "1,500")
        );
        assert_eq!(
            lines("reason=chan and place=(*Pool).worker"),
            format!(
                "no goroutine matches reason=chan and place=(*Pool).worker, {of}\n= needs the whole text; \
                 reason~chan and place~\\(\\*Pool\\)\\.worker finds 1,500 goroutines"
            )
        );
        // Neither would have found anything.
        assert_eq!(lines("func=nobody"), format!("no goroutine matches func=nobody, {of}"));
        assert_eq!(lines("age>5m"), format!("no goroutine matches age>5m, {of}"));
        assert_eq!(
            lines("not reason~chan\u{202e}"),
            "not reason~chan\\u{202e} matches 1,500 goroutines, all the runtime's own"
        );
        assert_eq!(lines("id=2"), "id=2 matches 1 goroutine, all the runtime's own");
    }
}
