//! What a program did on CPUs, in the formats of the tools that show it. Frames are those of the program's own CPU
//! profile; time in the kernel has `[kernel]` for its innermost frame.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::page::Graph;
use super::{Format, Root, flame_graph, page, speedscope};
use crate::analysis::cpu::{CpuRecording, OnCpu};
use crate::model::SampledLabels;
use crate::report::clean::clean;
use crate::report::frames::Frames;
use crate::report::profile;
use crate::report::profile::shown_frames;
use crate::report::units::{count, counted, duration, percent};

/// What is shown of a recording.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuRecordingOptions {
    /// What comes first in each stack. There is only one state.
    pub root: Root,
    /// A name for the program.
    pub name: String,
}

/// The innermost frame of time in the kernel.
const KERNEL: &str = "[kernel]";

/// Writes a recording.
///
/// # Errors
/// Those of `out`.
pub fn write(
    out: &mut dyn Write,
    recording: &CpuRecording,
    options: &CpuRecordingOptions,
    format: Format,
) -> io::Result<()> {
    let title = || format!("{}: {} of CPU time", options.name, duration(total_ns(recording)));
    match format {
        Format::Folded => {
            for (line, ns) in lines(recording, options) {
                writeln!(out, "{line} {}", ns / 1_000)?;
            }
            Ok(())
        }
        Format::Speedscope => write_speedscope(out, recording, options),
        Format::Pprof => profile::cpu::write(out, recording).map(drop),
        Format::Svg => flame_graph::write(out, &title(), &facts(recording), &lines(recording, options)),
        Format::Html => {
            let ns = total_ns(recording);
            let graph = Graph { name: "all", title: title(), ns, lines: lines(recording, options) };
            page::write_graphs(out, &title(), &facts(recording), &[graph])
        }
    }
}

fn total_ns(recording: &CpuRecording) -> u64 {
    recording.spent().fold(0_u64, |all, (_, samples)| all.saturating_add(recording.time_of(samples)))
}

fn frames(recording: &CpuRecording) -> Frames<'_> {
    // Profiles have the runtime's own frames, which tracebacks hide.
    let go_version = recording.target().map_or("", |target| target.go_version.as_str());
    Frames::new(recording.symbols(), go_version, true)
}

/// Stacks as lines, root first, `;` between, each with its time, ns.
fn lines(recording: &CpuRecording, options: &CpuRecordingOptions) -> BTreeMap<String, u64> {
    let (names, symbols) = (frames(recording), recording.symbols());
    let mut lines: BTreeMap<String, u64> = BTreeMap::new();
    for (on_cpu, samples) in recording.spent() {
        let mut line: Vec<String> = shown_frames(symbols, on_cpu.stack).map(|frame| names.name(Some(frame))).collect();
        line.extend(root(recording, options, on_cpu));
        line.reverse();
        line.extend(on_cpu.kernel.then(|| KERNEL.to_owned()));
        let ns = lines.entry(line.join(";")).or_default();
        *ns = ns.saturating_add(recording.time_of(samples));
    }
    lines
}

fn root(recording: &CpuRecording, options: &CpuRecordingOptions, on_cpu: &OnCpu) -> Option<String> {
    let Root::Label(key) = &options.root else { return None };
    let symbols = recording.symbols();
    let text = match on_cpu.labels {
        SampledLabels::Unknown => format!("[{key} unknown]"),
        SampledLabels::Known(labels) => match labels.and_then(|labels| symbols.label(labels, key)) {
            Some(value) => symbols.str(value).to_owned(),
            None => format!("[no {key}]"),
        },
    };
    Some(clean(&text).replace(';', ":"))
}

fn write_speedscope(out: &mut dyn Write, recording: &CpuRecording, options: &CpuRecordingOptions) -> io::Result<()> {
    let (names, symbols) = (frames(recording), recording.symbols());
    let mut known = speedscope::Known::default();
    let mut stacks = Vec::new();
    for (on_cpu, samples) in recording.spent() {
        let mut stack: Vec<usize> =
            shown_frames(symbols, on_cpu.stack).map(|frame| known.frame(&names, symbols, Some(frame))).collect();
        stack.extend(root(recording, options, on_cpu).map(|root| known.plain(root)));
        stack.reverse();
        stack.extend(on_cpu.kernel.then(|| known.plain(KERNEL.to_owned())));
        stacks.push((stack, recording.time_of(samples)));
    }
    let profile = speedscope::Profile::new("CPU", total_ns(recording), stacks);
    speedscope::finish(out, format!("{} ({})", options.name, facts(recording)), &known, vec![profile])
}

/// How the recording went, in one line.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "shares for people")]
pub fn facts(recording: &CpuRecording) -> String {
    /// The share whose error is given as an example.
    const EXAMPLE: f64 = 0.2;
    let stats = recording.stats();
    let share = |part: u64| percent(part as f64 / stats.samples.max(1) as f64);
    let hz = 1e9 / stats.clocks.period_ns.max(1) as f64;
    let mut text = format!(
        "{} in {}, {hz:.0} for each second of CPU time, of {}, {} lost",
        counted(stats.samples, "sample", "samples"),
        duration(stats.duration_ns),
        counted(stats.clocks.threads, "thread", "threads"),
        count(stats.clocks.lost),
    );
    if stats.samples == 0 {
        return text;
    }
    if stats.clocks.threads_missed > 0 {
        let missed = counted(stats.clocks.threads_missed, "more thread", "more threads");
        text.push_str(&format!("; {missed} could not be sampled"));
    }
    text.push_str(&format!("; {} in the kernel", share(stats.kernel)));
    if !stats.clocks.in_kernel {
        text.push_str(" (only counted: to see for which functions takes CAP_PERFMON)");
    }
    text.push_str(&format!(
        ", {} with unknown callers, {} with an unknown goroutine or none; a share of {} is exact to ±{:.1} points",
        share(stats.incomplete),
        share(stats.no_goroutine),
        percent(EXAMPLE),
        100.0 * recording.error_of(EXAMPLE),
    ));
    text
}

#[cfg(test)]
#[path = "cpu_tests.rs"]
mod tests;
