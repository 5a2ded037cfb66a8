//! Long names in little room.
//!
//! A function's own name distinguishes it from others, so it is never cut: only its path is, in the
//! middle. What does not fit even so is given back as long as it has to be.

use std::borrow::Cow;

use unicode_width::UnicodeWidthStr;

use crate::go_names::{package_end, printed};

/// Columns that `text` takes on a terminal.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// A function's name within `room` columns where that can be done: first without type arguments,
/// then without the middle of its path (`github.com/…/pkg.(*T).Method`), then without the path
/// (`pkg.(*T).Method`).
pub(crate) fn function(name: &str, room: usize) -> Cow<'_, str> {
    if width(name) <= room {
        return Cow::Borrowed(name);
    }
    // The rule of the newest version abridges the names of the older ones too.
    let abridged = if name == "runtime.gopanic" { Cow::Borrowed(name) } else { printed(name, 27) };
    if width(&abridged) <= room {
        return abridged;
    }
    let Some(path) = package_end(&abridged).and_then(|end| abridged.get(..end)) else { return abridged };
    let Some(slash) = path.rfind('/') else { return abridged };
    let (Some(directories), Some(base)) = (abridged.get(..slash), abridged.get(slash + 1..)) else { return abridged };
    // As many leading elements as fit; the first one says whose it is.
    let elements: Vec<&str> = directories.split('/').collect();
    for kept in (1..elements.len()).rev() {
        let head = elements.get(..kept).unwrap_or(&[]).join("/");
        let candidate = format!("{head}/…/{base}");
        if width(&candidate) <= room {
            return Cow::Owned(candidate);
        }
    }
    let candidate = format!("…/{base}");
    if width(&candidate) <= room { Cow::Owned(candidate) } else { Cow::Owned(base.to_owned()) }
}

/// The same, and where even that is too wide, without the package (`….(*T).Method`): better than a name
/// that is cut.
pub(crate) fn function_at_any_cost(name: &str, room: usize) -> Cow<'_, str> {
    let short = function(name, room);
    if width(&short) <= room || room == 0 {
        return short;
    }
    match package_end(&short).and_then(|end| short.get(end..)) {
        Some(own) => Cow::Owned(format!("…{own}")),
        None => short,
    }
}

/// A path (or `path:line`) within `room` columns where that can be done: leading directories go
/// first, the file's own name never.
pub(crate) fn path(path: &str, room: usize) -> Cow<'_, str> {
    if width(path) <= room {
        return Cow::Borrowed(path);
    }
    let mut rest = path;
    while let Some((_, behind)) = rest.split_once('/') {
        rest = behind;
        if width(rest) + 2 <= room {
            return Cow::Owned(format!("…/{rest}"));
        }
    }
    Cow::Borrowed(rest)
}

/// Words within `room` columns, cut at the end.
pub(crate) fn words(text: &str, room: usize) -> Cow<'_, str> {
    if width(text) <= room || room == 0 {
        return Cow::Borrowed(text);
    }
    let mut kept = String::new();
    for c in text.chars() {
        kept.push(c);
        if width(&kept) + 1 > room {
            kept.pop();
            break;
        }
    }
    kept.push('…');
    Cow::Owned(kept)
}

#[cfg(test)]
mod tests {
    use super::{function, function_at_any_cost, path, width, words};

    #[test]
    fn a_function_keeps_its_own_name() {
        let name = "github.com/prometheus/prometheus/tsdb/chunks.(*ChunkDiskMapper).WriteChunk";
        for (room, want) in [
            (80, name),
            (73, "github.com/prometheus/prometheus/…/chunks.(*ChunkDiskMapper).WriteChunk"),
            (60, "github.com/prometheus/…/chunks.(*ChunkDiskMapper).WriteChunk"),
            (50, "github.com/…/chunks.(*ChunkDiskMapper).WriteChunk"),
            (40, "…/chunks.(*ChunkDiskMapper).WriteChunk"),
            (36, "chunks.(*ChunkDiskMapper).WriteChunk"),
            (5, "chunks.(*ChunkDiskMapper).WriteChunk"),
        ] {
            assert_eq!(function(name, room), want, "{room}");
        }
        assert_eq!(function("main.Map[go.shape.int,go.shape.string]", 20), "main.Map[...]");
        assert_eq!(function("main.veryLongName", 5), "main.veryLongName");
        assert_eq!(function("a/b.F[x/y.T]", 7), "…/b.F[...]".strip_prefix("…/").unwrap());
    }

    #[test]
    fn the_package_goes_before_a_name_is_cut() {
        let name = "github.com/prometheus/prometheus/tsdb/chunks.(*ChunkDiskMapper).WriteChunk";
        for (room, want) in [
            (36, "chunks.(*ChunkDiskMapper).WriteChunk"),
            (35, "….(*ChunkDiskMapper).WriteChunk"),
            (5, "….(*ChunkDiskMapper).WriteChunk"),
            (0, "chunks.(*ChunkDiskMapper).WriteChunk"),
        ] {
            assert_eq!(function_at_any_cost(name, room), want, "{room}");
        }
        assert_eq!(function_at_any_cost("main.Map[go.shape.int]", 9), "….Map[...]");
        assert_eq!(function_at_any_cost("cgocallback", 5), "cgocallback");
    }

    #[test]
    fn a_path_keeps_its_file() {
        assert_eq!(path("/home/ci/go/src/app/worker.go:33", 20), "…/app/worker.go:33");
        assert_eq!(path("/home/ci/go/src/app/worker.go:33", 5), "worker.go:33");
        assert_eq!(path("worker.go:33", 50), "worker.go:33");
    }

    #[test]
    fn words_are_cut_by_columns() {
        assert_eq!(words("sync.Mutex.Lock", 8), "sync.Mu…");
        assert_eq!(words("名前名前", 5), "名前…");
        assert!(width(&words("名前名前", 4)) <= 4);
    }
}
