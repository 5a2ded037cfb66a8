//! A recording of what a program did on CPUs: with the sample types, frames and addresses of the CPU profile that the
//! program would write of itself (`runtime/pprof`), so that the two can be compared with `go tool pprof -diff_base`.
//! Beside the program's own labels, samples have those of gospy: `mode` (user or kernel), `thread` and `goroutine`.

use std::io::{self, Write};

use super::builder::{Builder, Header, shown_frames};
use crate::analysis::cpu::CpuRecording;
use crate::model::{SampledLabels, TargetInfo};

/// Writes the profile of a recording, and gives how many samples it has.
///
/// # Errors
/// Those of `out`.
pub fn write(out: &mut dyn Write, recording: &CpuRecording) -> io::Result<u64> {
    let nothing = TargetInfo::default();
    let (stats, symbols) = (recording.stats(), recording.symbols());
    let target = recording.target().unwrap_or(&nothing);
    let header = Header {
        sample_types: &[("samples", "count"), ("cpu", "nanoseconds")],
        default_sample_type: Some("cpu"),
        period: ("cpu", "nanoseconds", stats.clocks.period_ns),
        time_ns: stats.started_unix_ns,
        duration_ns: stats.duration_ns,
        comment: &format!(
            "what pid {} did on CPUs, recorded by gospy: {} samples, {} lost, the callers of {} unknown",
            target.pid, stats.samples, stats.clocks.lost, stats.incomplete
        ),
    };
    let mut builder = Builder::new(&mut *out, symbols, target, &header)?;
    for (on_cpu, samples) in recording.spent() {
        let locations = builder.locations(shown_frames(symbols, on_cpu.stack))?;
        let mut sample = Builder::<&mut dyn Write>::sample(&locations, &[samples, recording.time_of(samples)]);
        builder.text_label(&mut sample, "mode", if on_cpu.kernel { "kernel" } else { "user" });
        if let Some(thread) = on_cpu.thread.and_then(|thread| u64::try_from(thread).ok()) {
            builder.number_label(&mut sample, "thread", thread, "id");
        }
        if let Some(goroutine) = on_cpu.goroutine {
            builder.number_label(&mut sample, "goroutine", goroutine.0, "id");
        }
        if let SampledLabels::Known(Some(labels)) = on_cpu.labels {
            for label in symbols.labels(labels) {
                builder.text_label(&mut sample, symbols.str(label.key), symbols.str(label.value));
            }
        }
        builder.add(&sample)?;
    }
    builder.finish()
}
