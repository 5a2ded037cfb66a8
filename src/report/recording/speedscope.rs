//! speedscope's own format (its file-format-spec.ts): frames once, and a sampled profile for each state.

use std::io::{self, Write};

use indexmap::IndexMap;
use rustc_hash::FxBuildHasher;
use serde::Serialize;

use super::{RecordingOptions, facts, frames, leaf, root, states};
use crate::analysis::recording::Recording;
use crate::report::clean::clean;
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

#[derive(Serialize)]
struct Profile {
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

pub(super) fn write(out: &mut dyn Write, recording: &Recording, options: &RecordingOptions) -> io::Result<()> {
    let mut known: IndexMap<Frame, (), FxBuildHasher> = IndexMap::default();
    let mut profiles = Vec::new();
    for (status, spent) in states(recording, options) {
        let (mut samples, mut weights) = (Vec::new(), Vec::new());
        for (doing, spent) in recording.spent(options.idle).filter(|(doing, _)| doing.status == status) {
            let (Some(names), Some(symbols)) = (frames(recording, options, doing), recording.symbols(doing)) else {
                continue;
            };
            let plain = |name: String| Frame { name, file: None, line: None };
            let of_stack = names.of(doing.stack, doing.start);
            let of_stack = of_stack.into_iter().flatten().map(|id| {
                let frame = symbols.frame(id);
                let file = frame.map(|frame| clean(symbols.str(frame.file)).into_owned());
                Frame {
                    name: names.name(Some(id)),
                    file: file.filter(|file| !file.is_empty()),
                    line: frame.map(|frame| frame.line).filter(|&line| line > 0),
                }
            });
            let root = root(recording, options, doing).map(plain);
            // Where a stack is missing, the leaf says why.
            let missing = doing.stack.known().is_none().then(|| plain(super::why(doing.stack).to_owned()));
            let leaf = leaf(recording, doing).map(plain);
            let all = root.into_iter().chain(of_stack).chain(missing).chain(leaf);
            samples.push(all.map(|frame| known.insert_full(frame, ()).0).collect());
            weights.push(spent.ns);
        }
        profiles.push(Profile {
            kind: "sampled",
            name: status.name().to_owned(),
            unit: "nanoseconds",
            start_value: 0,
            end_value: spent.ns,
            samples,
            weights,
        });
    }
    let file = File {
        schema: SCHEMA,
        exporter: EXPORTER,
        name: format!("{} ({})", options.name, facts(recording, options)),
        active_profile_index: 0,
        shared: Shared { frames: known.keys().collect() },
        profiles,
    };
    to_writer(out, &file)?;
    writeln!(out)
}
