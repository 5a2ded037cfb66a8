//! speedscope's own format (its file-format-spec.ts): frames once, and a sampled profile for each state.

use std::io::{self, Write};

use indexmap::IndexMap;
use rustc_hash::FxBuildHasher;
use serde::Serialize;

use super::{RecordingOptions, facts, frames, leaf, root, states};
use crate::analysis::recording::Recording;
use crate::model::{FrameId, SymbolPool};
use crate::report::clean::clean;
use crate::report::frames::Frames;
use crate::report::json::to_writer;

#[derive(Serialize)]
struct File<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    exporter: &'static str,
    name: String,
    #[serde(rename = "activeProfileIndex")]
    active_profile_index: usize,
    shared: Shared<'a>,
    profiles: Vec<Profile>,
}

#[derive(Serialize)]
struct Shared<'a> {
    frames: Vec<&'a Frame>,
}

#[derive(Serialize, PartialEq, Eq, Hash)]
struct Frame {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
}

/// One of the profiles of a file.
#[derive(Serialize)]
pub(super) struct Profile {
    #[serde(rename = "type")]
    kind: &'static str,
    name: String,
    unit: &'static str,
    #[serde(rename = "startValue")]
    start_value: u64,
    #[serde(rename = "endValue")]
    end_value: u64,
    samples: Vec<Vec<usize>>,
    weights: Vec<u64>,
}

const SCHEMA: &str = "https://www.speedscope.app/file-format-schema.json";
const EXPORTER: &str = concat!("gospy@", env!("CARGO_PKG_VERSION"));

impl Profile {
    /// Of stacks, root first, each with its time, ns; together they have `total_ns`.
    pub(super) fn new(name: &str, total_ns: u64, stacks: Vec<(Vec<usize>, u64)>) -> Self {
        let (samples, weights) = stacks.into_iter().unzip();
        Self {
            kind: "sampled",
            name: name.to_owned(),
            unit: "nanoseconds",
            start_value: 0,
            end_value: total_ns,
            samples,
            weights,
        }
    }
}

/// The frames of a file, each once.
#[derive(Default)]
pub(super) struct Known(IndexMap<Frame, (), FxBuildHasher>);

impl Known {
    /// The number of a frame that is only a text.
    pub(super) fn plain(&mut self, name: String) -> usize {
        self.0.insert_full(Frame { name, file: None, line: None }, ()).0
    }

    /// The number of a function's frame.
    pub(super) fn frame(&mut self, names: &Frames<'_>, symbols: &SymbolPool, id: Option<FrameId>) -> usize {
        let frame = id.and_then(|id| symbols.frame(id));
        let file = frame.map(|frame| clean(symbols.str(frame.file)).into_owned());
        let frame = Frame {
            name: names.name(id),
            file: file.filter(|file| !file.is_empty()),
            line: frame.map(|frame| frame.line).filter(|&line| line > 0),
        };
        self.0.insert_full(frame, ()).0
    }
}

pub(super) fn write(out: &mut dyn Write, recording: &Recording, options: &RecordingOptions) -> io::Result<()> {
    let mut known = Known::default();
    let mut profiles = Vec::new();
    for (status, spent) in states(recording, options) {
        let mut stacks = Vec::new();
        for (doing, spent) in recording.spent(options.idle).filter(|(doing, _)| doing.status == status) {
            let (Some(names), Some(symbols)) = (frames(recording, options, doing), recording.symbols(doing)) else {
                continue;
            };
            let mut stack: Vec<usize> =
                root(recording, options, doing).map(|root| known.plain(root)).into_iter().collect();
            let of_stack = names.of(doing.stack, doing.start);
            stack.extend(of_stack.into_iter().flatten().map(|id| known.frame(&names, symbols, Some(id))));
            // Where a stack is missing, the leaf says why.
            if doing.stack.known().is_none() {
                stack.push(known.plain(super::why(doing.stack).to_owned()));
            }
            stack.extend(leaf(recording, doing).map(|leaf| known.plain(leaf)));
            stacks.push((stack, spent.ns));
        }
        profiles.push(Profile::new(status.name(), spent.ns, stacks));
    }
    finish(out, format!("{} ({})", options.name, facts(recording, options)), &known, profiles)
}

/// Writes a file.
pub(super) fn finish(out: &mut dyn Write, name: String, known: &Known, profiles: Vec<Profile>) -> io::Result<()> {
    let file = File {
        schema: SCHEMA,
        exporter: EXPORTER,
        name,
        active_profile_index: 0,
        shared: Shared { frames: known.0.keys().collect() },
        profiles,
    };
    to_writer(out, &file)?;
    writeln!(out)
}
