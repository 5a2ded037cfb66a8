//! `gospy heap --objects`: on one screen, what is live, what it is, what keeps it, and what was asked for beside that.

use std::io::{self, Write};

use super::{Options, ROOTS, SIZES, TYPES, more};
use crate::analysis::Index;
use crate::analysis::objects::{ObjectGroup, keepers};
use crate::analysis::place::Place;
use crate::analysis::series::heap::KeptBy;
use crate::heap::objects::{Amount, Keeper, Objects, Path, Root, Standing, Step, Untyped};
use crate::report::clean::clean;
use crate::report::heap_part::root;
use crate::report::place::PlaceWords;
use crate::report::text::facts::{facts, heading, paragraph};
use crate::report::text::table::write as write_table;
use crate::report::text::{CellText, Column, Role, Shrink, TextStyle};
use crate::report::units::{bytes, count, counted, duration, percent};

/// Most steps of a path that text shows.
const MOST_STEPS: usize = 30;

/// What is shown.
pub(crate) struct Contents<'a> {
    /// Goroutines.
    pub(crate) index: &'a Index<'a>,
    /// By which they are told apart.
    pub(crate) groups: &'a [ObjectGroup],
    /// The objects.
    pub(crate) objects: &'a Objects,
    /// What only some goroutines keep, where that was asked for: who they are, and their ids.
    pub(crate) only: Option<(&'a str, &'a [u64])>,
    /// What a path was asked to.
    pub(crate) path_to: Option<&'a str>,
}

/// Writes it for people.
///
/// # Errors
/// Those of `out`.
pub(crate) fn write(out: &mut dyn Write, contents: &Contents<'_>, options: Options) -> io::Result<()> {
    let Contents { index, objects, .. } = contents;
    let style = options.style;
    let target = &index.snapshot().target;
    let name = target.exe.rsplit('/').next().unwrap_or(&target.exe);
    writeln!(out, "{} · pid {} · {}", style.paint(Role::Strong, &clean(name)), target.pid, clean(&target.go_version))?;
    heading(out, style, "Objects", "")?;
    facts(out, style, "live", &[in_objects(objects.live)])?;
    facts(out, style, "garbage", &[in_objects(objects.garbage)])?;
    facts(out, style, "worth", &[standing(objects.standing)])?;
    for note in &objects.notes {
        paragraph(out, style, Role::Attention, &clean(note))?;
    }
    types(out, contents, options)?;
    untyped(out, objects, options)?;
    kept(out, contents, options)?;
    only(out, contents, options)?;
    match (&contents.path_to, &objects.path) {
        (None, _) => Ok(()),
        (Some(wanted), None) => {
            heading(out, style, "Path", &format!("to {}", clean(wanted)))?;
            let by_type = objects.types.is_none() && !wanted.starts_with("0x");
            let why = if by_type { "types need Go 1.22 or later" } else { "no live object is that" };
            paragraph(out, style, Role::Attention, why)
        }
        (Some(wanted), Some(path)) => self::path(out, contents, wanted, path, style),
    }
}

fn in_objects(amount: Amount) -> String {
    format!("{} in {}", bytes(amount.bytes), counted(amount.objects, "object", "objects"))
}

/// What the figures are worth, in a line.
fn standing(standing: Standing) -> String {
    match standing {
        Standing::Frozen(stood) => {
            let stood = duration(u64::try_from(stood.as_nanos()).unwrap_or(u64::MAX));
            format!("exact: the program was stopped for {stood}")
        }
        Standing::CoreFile => "exact: it is a core file".to_owned(),
        Standing::Quiet => "exact: no Go code ran meanwhile".to_owned(),
        Standing::RanWhileCaptured => {
            "an estimate, the program ran while it was captured: capture it with --heap --freeze=all".to_owned()
        }
        Standing::Running(changes) => format!(
            "an estimate, the program ran meanwhile: at least {} in {} allocated or freed, {} ran; --freeze=all is exact",
            counted(changes.objects, "object", "objects"),
            counted(changes.spans, "span", "spans"),
            counted(changes.goroutines, "goroutine", "goroutines"),
        ),
    }
}

fn share(part: Amount, all: Amount) -> String {
    let share = if all.bytes == 0 { 0.0 } else { part.bytes as f64 / all.bytes as f64 };
    percent(share)
}

fn row(amount: Amount, all: Amount, what: String) -> Vec<CellText> {
    vec![
        CellText::new(Role::Strong, bytes(amount.bytes)),
        CellText::plain(count(amount.objects)),
        CellText::plain(share(amount, all)),
        CellText::plain(what),
    ]
}

fn columns(last: &'static str, shrink: Shrink) -> [Column; 4] {
    [Column::right("BYTES"), Column::right("OBJECTS"), Column::right("SHARE"), Column::shrinking(last, shrink)]
}

fn types(out: &mut dyn Write, contents: &Contents<'_>, options: Options) -> io::Result<()> {
    let Options { style, limit, .. } = options;
    let objects = contents.objects;
    let Some(types) = &objects.types else {
        heading(out, style, "Types", "")?;
        return paragraph(
            out,
            style,
            Role::Attention,
            "Only programs of Go 1.22 or later say of which types objects are.",
        );
    };
    let typed = objects.typed();
    heading(out, style, "Types", &format!("known of {} of what is live", share(typed, objects.live)))?;
    let shown = types.len().min(limit);
    write_table(out, style, &columns("TYPE", Shrink::Function), shown, &|at| {
        types.get(at).map_or_else(Vec::new, |sum| row(sum.live, objects.live, clean(&sum.name).into_owned()))
    })?;
    more(out, types.len() - shown, TYPES)
}

fn untyped(out: &mut dyn Write, objects: &Objects, options: Options) -> io::Result<()> {
    let Options { style, limit, .. } = options;
    if objects.untyped.is_empty() {
        return Ok(());
    }
    let all = objects.untyped.iter().fold(Amount::default(), |all, class| all.with(class.live));
    heading(out, style, "Without a known type", &in_objects(all))?;
    // Less is to be seen here than in what is known.
    let shown = objects.untyped.len().min(if limit == usize::MAX { limit } else { limit.div_ceil(2) });
    let size = |class: &Untyped| {
        let size = class.size.map_or_else(|| "larger".to_owned(), |size| format!("{} bytes", count(size)));
        format!("{size}, {}", if class.pointers { "with pointers" } else { "no pointers" })
    };
    write_table(out, style, &columns("SIZE", Shrink::Function), shown, &|at| {
        objects.untyped.get(at).map_or_else(Vec::new, |class| row(class.live, objects.live, size(class)))
    })?;
    more(out, objects.untyped.len() - shown, SIZES)
}

fn kept(out: &mut dyn Write, contents: &Contents<'_>, options: Options) -> io::Result<()> {
    let Options { style, limit, .. } = options;
    let objects = contents.objects;
    let kept = keepers(objects);
    heading(out, style, "Kept by", "each object where it is reached first, variables before goroutines")?;
    let shown = kept.len().min(limit);
    write_table(out, style, &columns("BY", Shrink::Place), shown, &|at| {
        kept.get(at).map_or_else(Vec::new, |(by, amount)| row(*amount, objects.live, keeper(contents, *by)))
    })?;
    more(out, kept.len() - shown, ROOTS)
}

fn keeper(contents: &Contents<'_>, by: Keeper) -> String {
    let group = match by {
        Keeper::Group(number) => contents.groups.get(number),
        _ => None,
    };
    let group = group.and_then(|group| Some((group.ids.len() as u64, group.place?)));
    match KeptBy::of(by, contents.groups) {
        Some(kept) => root(kept, group, &contents.index.snapshot().symbols),
        None => contents.only.map_or_else(String::new, |(who, _)| format!("only {}", clean(who))),
    }
}

fn only(out: &mut dyn Write, contents: &Contents<'_>, options: Options) -> io::Result<()> {
    let Options { style, limit, .. } = options;
    let (Some((who, ids)), Some(amount)) = (contents.only, contents.objects.only()) else { return Ok(()) };
    heading(out, style, "Kept by nothing else", &in_objects(amount))?;
    facts(out, style, "than by", &[clean(who).into_owned(), counted(ids.len() as u64, "goroutine", "goroutines")])?;
    let mut types: Vec<_> = contents.objects.types.iter().flatten().filter(|sum| sum.only.objects > 0).collect();
    types.sort_by_key(|sum| std::cmp::Reverse(sum.only.bytes));
    let typed = types.iter().fold(Amount::default(), |all, sum| all.with(sum.only));
    let rest = amount.beyond(typed);
    let shown = types.len().min(limit);
    let rows = shown + usize::from(rest.objects > 0);
    write_table(
        out,
        style,
        &columns("TYPE", Shrink::Function),
        rows,
        &|at| match types.get(at).filter(|_| at < shown) {
            Some(sum) => row(sum.only, amount, clean(&sum.name).into_owned()),
            None => row(rest, amount, "without a known type".to_owned()),
        },
    )?;
    more(out, types.len() - shown, TYPES)
}

fn path(out: &mut dyn Write, contents: &Contents<'_>, wanted: &str, path: &Path, style: TextStyle) -> io::Result<()> {
    let steps = (path.steps.len() as u64).saturating_add(path.left_out);
    heading(out, style, "Path", &format!("to {}, over {}", clean(wanted), counted(steps, "object", "objects")))?;
    facts(out, style, "from", &[beginning(contents, path)])?;
    // In the middle a row says how many there are not.
    let half = MOST_STEPS / 2;
    let rows: Vec<Option<&Step>> = match path.steps.len() {
        ..=MOST_STEPS => path.steps.iter().map(Some).collect(),
        all => {
            let ends = path.steps.iter().take(half).map(Some);
            ends.chain([None]).chain(path.steps.iter().skip(all - half).map(Some)).collect()
        }
    };
    let skipped = steps.saturating_sub(2 * half as u64);
    let columns = [
        Column::shrinking("OBJECT", Shrink::Function),
        Column::right("OFFSET"),
        Column::shrinking("FIELD", Shrink::Words),
        Column::left("ADDRESS"),
    ];
    write_table(out, style, &columns, rows.len(), &|at| match rows.get(at) {
        Some(Some(step)) => self::step(step),
        _ => vec![CellText::plain(format!("… {}", counted(skipped, "more object", "more objects")))],
    })
}

/// Where a path begins, in words.
fn beginning(contents: &Contents<'_>, path: &Path) -> String {
    match path.root {
        Root::Variable(addr) => match &path.variable {
            Some((name, 0)) => format!("variable {}", clean(name)),
            Some((name, into)) => format!("variable {} + {into}", clean(name)),
            None => format!("the package variable at {addr} (its name needs symbols)"),
        },
        Root::Finalizer => "a finalizer or a cleanup".to_owned(),
        Root::Timer => "a timer, or a P".to_owned(),
        Root::Thread => "a thread that runs".to_owned(),
        Root::Goroutine(id) => {
            let snapshot = contents.index.snapshot();
            let goroutine = snapshot.goroutines.iter().find(|goroutine| goroutine.id.0 == id);
            let place = goroutine.map_or(Place::Unknown, |g| contents.index.place(g, crate::analysis::PlaceKind::User));
            let words = PlaceWords::of(&snapshot.symbols, place).map(|words| format!(" in {}", words.line()));
            format!("goroutine {id}{}", words.unwrap_or_default())
        }
    }
}

/// An object of a path: its type, and where the pointer to the next is.
fn step(step: &Step) -> Vec<CellText> {
    let size = || format!("{} bytes", count(step.size));
    vec![
        CellText::plain(step.type_name.as_deref().map_or_else(size, |name| clean(name).into_owned())),
        CellText::plain(step.offset.map(count).unwrap_or_default()),
        CellText::plain(step.field.as_deref().map(|field| clean(field).into_owned()).unwrap_or_default()),
        CellText::plain(step.addr.to_string()),
    ]
}
