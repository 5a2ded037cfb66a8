//! Which frames of a stack are shown by one line together: those of libraries, between the program's own.

use crate::go_names::{Origin, Origins, package};
use crate::model::{Frame, Snapshot, SymbolPool};
use crate::report::units::counted;

/// A line of a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// A frame by itself.
    Frame(&'a Frame),
    /// Neighbouring frames of libraries, two at least.
    Library(&'a [&'a Frame]),
}

/// Packages that are named of frames that are shown together.
const PACKAGES: usize = 3;

/// Puts neighbouring frames of libraries together. A stack of nothing but libraries is shown as it is.
pub(super) fn fold<'a>(snapshot: &Snapshot, frames: &'a [&'a Frame]) -> Vec<Part<'a>> {
    let (module, pool) = (&snapshot.target.module, &snapshot.symbols);
    let mut origins = Origins::new(module.path.as_deref(), module.package.as_deref());
    for frame in frames {
        if origins.learn(pool.str(frame.function), pool.str(frame.file)) {
            break;
        }
    }
    let is_own = |frame: &Frame| origins.of(pool.str(frame.function), pool.str(frame.file)) == Origin::Main;
    if !frames.iter().any(|frame| is_own(frame)) {
        return frames.iter().map(|frame| Part::Frame(frame)).collect();
    }
    let runs = frames.chunk_by(|one, other| is_own(one) == is_own(other));
    let mut parts = Vec::new();
    for run in runs {
        match run {
            [first, _, ..] if !is_own(first) => parts.push(Part::Library(run)),
            _ => parts.extend(run.iter().map(|frame| Part::Frame(frame))),
        }
    }
    parts
}

/// `5 frames of net/http, bufio, …`, innermost first.
pub(super) fn text(pool: &SymbolPool, frames: &[&Frame]) -> String {
    let mut packages: Vec<String> = Vec::new();
    for name in frames.iter().filter_map(|frame| package(pool.str(frame.function))) {
        if !packages.iter().any(|known| *known == name) {
            packages.push(name.into_owned());
        }
    }
    if packages.len() > PACKAGES {
        packages.truncate(PACKAGES);
        packages.push("…".to_owned());
    }
    let of = if packages.is_empty() { String::new() } else { format!(" of {}", packages.join(", ")) };
    format!("{}{of}", counted(u64::try_from(frames.len()).unwrap_or(u64::MAX), "frame", "frames"))
}

#[cfg(test)]
mod tests {
    use super::{Part, fold, text};
    use crate::model::testing::{GoroutineSpec, SnapshotBuilder, frame};
    use crate::model::{Frame, Snapshot, StackState};

    fn shown(functions: &[(&'static str, &'static str)]) -> Vec<String> {
        let mut builder = SnapshotBuilder::new();
        let frames = functions.iter().map(|(function, file)| frame(function, file, 1)).collect();
        builder.add(&GoroutineSpec { id: 1, frames, ..Default::default() });
        let snapshot: Snapshot = builder.build();
        let StackState::Known(stack) = snapshot.goroutines[0].stack else { panic!("it has a stack") };
        let frames = &snapshot.symbols.stack(stack).unwrap().frames;
        let frames: Vec<&Frame> = frames.iter().map(|f| snapshot.symbols.frame(f.frame).unwrap()).collect();
        let parts = fold(&snapshot, &frames);
        let line = |part: &Part<'_>| match part {
            Part::Frame(frame) => snapshot.symbols.str(frame.function).to_owned(),
            Part::Library(frames) => text(&snapshot.symbols, frames),
        };
        parts.iter().map(line).collect()
    }

    #[test]
    fn libraries_between_the_programs_own_frames() {
        let std = |file: &str| -> &'static str { format!("/usr/local/go/src/{file}").leak() };
        let poll = ("internal/poll.(*FD).Read", std("internal/poll/fd_unix.go"));
        let net = ("net.(*conn).Read", std("net/net.go"));
        let pq = ("github.com/lib/pq.(*conn).recv", "/go/pkg/mod/github.com/lib/pq@v1.10.0/conn.go");
        let own = ("example.com/shop/store.Query", "/src/shop/store/store.go");
        let main = ("main.main", "/src/shop/main.go");
        let serve = ("net/http.(*conn).serve", std("net/http/server.go"));
        let park = ("runtime.gopark", std("runtime/proc.go"));
        assert_eq!(
            shown(&[park, poll, net, pq, own, main]),
            ["4 frames of runtime, internal/poll, net, …", "example.com/shop/store.Query", "main.main"]
        );
        // One by itself takes no more room than what would stand in its place.
        assert_eq!(shown(&[net, own, serve]), ["net.(*conn).Read", "example.com/shop/store.Query", serve.0]);
        assert_eq!(shown(&[poll, net, serve]), [poll.0, net.0, serve.0]);
    }
}
