//! The metrics of a program for Prometheus: those that Go's client library has by default, under the same names, so
//! that what people have for programs with an endpoint works for those without.
//!
//! What is not known is left out: a missing value is no 0.

mod exposition;
mod goroutines;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{self, Write};

pub(crate) use exposition::CONTENT_TYPE;
use exposition::{Family, Kind, Sample};
pub(crate) use goroutines::GoroutineMetrics;

use crate::model::{Collections, HeapStats, RuntimeMetrics};
use crate::process::Accounting;

/// Writes the families of the Go collector and of the process collector (client_golang 1.24: 29 and 9) in
/// the text format, and with them those of goroutines, where these were read.
///
/// # Errors
/// Those of `out`.
pub(crate) fn write(
    out: &mut dyn Write,
    runtime: &RuntimeMetrics,
    accounting: Option<&Accounting>,
    goroutines: Option<&GoroutineMetrics>,
) -> io::Result<()> {
    let mut families = Families::of(runtime, accounting);
    if let Some(goroutines) = goroutines {
        families.goroutines(goroutines);
    }
    exposition::write(out, families.0)
}

/// A program among others, and what was read of it.
pub(crate) struct Member {
    /// Labels that it has and no other.
    pub(crate) labels: Vec<(&'static str, String)>,
    /// `None` where it could not be read.
    pub(crate) read: Option<(RuntimeMetrics, Option<Accounting>)>,
}

/// Writes the same families for several programs, each with its labels, and which of them were read.
///
/// # Errors
/// Those of `out`.
pub(crate) fn write_all(out: &mut dyn Write, members: Vec<Member>) -> io::Result<()> {
    let mut all: BTreeMap<&'static str, Family> = BTreeMap::new();
    for Member { labels, read } in members {
        let mut families = Families::default();
        if let Some((runtime, accounting)) = &read {
            families = Families::of(runtime, accounting.as_ref());
        }
        let help = "Whether the program was read: 0 where it could not be, or not in time.";
        families.gauge("gospy_up", help, Some(f64::from(u8::from(read.is_some()))));
        for mut family in families.0 {
            for sample in &mut family.samples {
                sample.labels = labels.iter().cloned().chain(std::mem::take(&mut sample.labels)).collect();
            }
            match all.entry(family.name) {
                Entry::Vacant(entry) => drop(entry.insert(family)),
                Entry::Occupied(mut entry) => entry.get_mut().samples.append(&mut family.samples),
            }
        }
    }
    exposition::write(out, all.into_values().collect())
}

/// What the server counts of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServerMetrics {
    /// Programs that are served, as of when they were last looked for.
    pub(crate) programs: u64,
    /// Requests.
    pub(crate) requests: u64,
    /// Of them, those that were refused.
    pub(crate) refused: u64,
    /// Readings of programs.
    pub(crate) readings: u64,
    /// Of them, those that failed.
    pub(crate) failed: u64,
    /// Time that readings took, ns.
    pub(crate) reading_ns: u64,
}

/// Writes the server's own metrics, and what the kernel accounts to it.
///
/// # Errors
/// Those of `out`.
pub(crate) fn write_server(
    out: &mut dyn Write,
    server: &ServerMetrics,
    accounting: Option<&Accounting>,
) -> io::Result<()> {
    let mut families = Families::default();
    let version = Sample { labels: vec![("version", env!("CARGO_PKG_VERSION").to_owned())], ..Sample::from(1.0) };
    families.add("gospy_build_info", Kind::Gauge, "The version of gospy.", vec![version]);
    families.gauge("gospy_programs", "Programs that are served.", Some(server.programs as f64));
    let counters = [
        ("gospy_requests_total", "Requests so far.", server.requests),
        ("gospy_requests_refused_total", "Requests that were refused.", server.refused),
        ("gospy_readings_total", "Readings of programs so far.", server.readings),
        ("gospy_readings_failed_total", "Readings of programs that failed.", server.failed),
    ];
    for (name, help, value) in counters {
        families.counter(name, help, Some(value as f64));
    }
    let help = "Time that readings of programs took, in seconds.";
    families.counter("gospy_reading_seconds_total", help, Some(seconds(server.reading_ns)));
    if let Some(accounting) = accounting {
        families.process(accounting);
    }
    exposition::write(out, families.0)
}

const NANOS: u64 = 1_000_000_000;

/// Nanoseconds in seconds as `time.Duration.Seconds` gives them.
fn seconds(ns: u64) -> f64 {
    (ns / NANOS) as f64 + (ns % NANOS) as f64 / NANOS as f64
}

#[derive(Default)]
struct Families(Vec<Family>);

impl Families {
    /// What a client library has of a program.
    fn of(runtime: &RuntimeMetrics, accounting: Option<&Accounting>) -> Self {
        let mut families = Self::default();
        families.runtime(runtime);
        if let Some(heap) = &runtime.heap {
            families.heap(heap);
        }
        if let Some(collections) = &runtime.collections {
            families.collections(collections);
        }
        if let Some(accounting) = accounting {
            families.process(accounting);
        }
        families
    }

    fn add(&mut self, name: &'static str, kind: Kind, help: &'static str, samples: Vec<Sample>) {
        self.0.push(Family { name, kind, help, samples });
    }

    fn gauge(&mut self, name: &'static str, help: &'static str, value: Option<f64>) {
        if let Some(value) = value {
            self.add(name, Kind::Gauge, help, vec![value.into()]);
        }
    }

    fn counter(&mut self, name: &'static str, help: &'static str, value: Option<f64>) {
        if let Some(value) = value {
            self.add(name, Kind::Counter, help, vec![value.into()]);
        }
    }

    fn runtime(&mut self, runtime: &RuntimeMetrics) {
        let number = |value: Option<u64>| value.map(|value| value as f64);
        let version = Sample { labels: vec![("version", runtime.go_version.clone())], ..Sample::from(1.0) };
        self.add("go_info", Kind::Gauge, "The version of Go that the program was built with.", vec![version]);
        self.gauge("go_goroutines", "Goroutines that exist, without the system's.", number(runtime.goroutines));
        self.gauge("go_threads", "Threads of the runtime (Ms) that exist.", number(runtime.threads));
        self.gauge(
            "go_sched_gomaxprocs_threads",
            "GOMAXPROCS: threads that may run Go code at the same time.",
            runtime.gomaxprocs.map(f64::from),
        );
        // As the runtime reports it, off is the largest number.
        let percent = runtime.gc_percent.map(|percent| u64::try_from(percent).unwrap_or(u64::MAX));
        self.gauge("go_gc_gogc_percent", "GOGC, in percent; the largest number when it is off.", number(percent));
        self.gauge(
            "go_gc_gomemlimit_bytes",
            "GOMEMLIMIT; the largest number without one.",
            number(runtime.memory_limit),
        );
        self.gauge(
            "go_memstats_next_gc_bytes",
            "Heap size that the next cycle of the collector aims at.",
            number(runtime.next_goal),
        );
        self.gauge("go_memstats_mspan_inuse_bytes", "Memory of mspan structures in use.", number(runtime.mspan_inuse));
        self.gauge(
            "go_memstats_mcache_inuse_bytes",
            "Memory of mcache structures in use.",
            number(runtime.mcache_inuse),
        );
    }

    fn heap(&mut self, heap: &HeapStats) {
        let gauges = [
            ("go_memstats_alloc_bytes", "Bytes of heap objects, live or not yet swept.", heap.heap_alloc),
            ("go_memstats_heap_alloc_bytes", "Bytes of heap objects, live or not yet swept.", heap.heap_alloc),
            ("go_memstats_heap_objects", "Heap objects, live or not yet swept.", heap.heap_objects),
            ("go_memstats_heap_sys_bytes", "Heap memory obtained from the operating system.", heap.heap_sys),
            ("go_memstats_heap_idle_bytes", "Heap memory in spans without objects.", heap.heap_idle),
            ("go_memstats_heap_inuse_bytes", "Heap memory in spans with objects.", heap.heap_inuse),
            ("go_memstats_heap_released_bytes", "Heap memory given back to the operating system.", heap.heap_released),
            ("go_memstats_stack_inuse_bytes", "Memory of goroutine stacks.", heap.stack_inuse),
            ("go_memstats_stack_sys_bytes", "Stack memory obtained from the operating system.", heap.stack_sys),
            ("go_memstats_mspan_sys_bytes", "Memory obtained for mspan structures.", heap.mspan_sys),
            ("go_memstats_mcache_sys_bytes", "Memory obtained for mcache structures.", heap.mcache_sys),
            ("go_memstats_buck_hash_sys_bytes", "Memory of the profiling hash table.", heap.buckhash_sys),
            ("go_memstats_gc_sys_bytes", "Memory of the collector's metadata.", heap.gc_sys),
            ("go_memstats_other_sys_bytes", "Memory obtained for everything else of the runtime.", heap.other_sys),
            ("go_memstats_sys_bytes", "Memory obtained from the operating system in all.", heap.sys),
        ];
        for (name, help, value) in gauges {
            self.gauge(name, help, Some(value as f64));
        }
        let counters = [
            ("go_memstats_alloc_bytes_total", "Bytes allocated on the heap so far.", heap.total_alloc),
            ("go_memstats_mallocs_total", "Objects allocated on the heap so far.", heap.mallocs),
            ("go_memstats_frees_total", "Objects of the heap freed so far.", heap.frees),
        ];
        for (name, help, value) in counters {
            self.counter(name, help, Some(value as f64));
        }
    }

    fn collections(&mut self, collections: &Collections) {
        let quantiles = ["0", "0.25", "0.5", "0.75", "1"].into_iter().enumerate();
        let mut samples: Vec<Sample> = quantiles
            .map(|(quarters, quantile)| Sample {
                suffix: "",
                labels: vec![("quantile", quantile.to_owned())],
                value: seconds(collections.pause_quantile_ns(quarters)),
            })
            .collect();
        let more = |suffix, value| Sample { suffix, labels: Vec::new(), value };
        samples.push(more("_sum", seconds(collections.pause_total_ns)));
        samples.push(more("_count", collections.cycles.into()));
        let help = "How long the collector stopped the world, of the latest 256 cycles.";
        self.add("go_gc_duration_seconds", Kind::Summary, help, samples);
        self.gauge(
            "go_memstats_last_gc_time_seconds",
            "When the latest cycle of the collector ended, seconds since the Unix epoch.",
            Some(collections.last_unix_ns as f64 / NANOS as f64),
        );
    }

    fn process(&mut self, accounting: &Accounting) {
        let number = |value: Option<u64>| value.map(|value| value as f64);
        self.counter("process_cpu_seconds_total", "CPU time, user and system, in seconds.", accounting.cpu_seconds);
        self.counter(
            "process_network_receive_bytes_total",
            "Bytes received by the network namespace of the process.",
            number(accounting.received_bytes),
        );
        self.counter(
            "process_network_transmit_bytes_total",
            "Bytes sent by the network namespace of the process.",
            number(accounting.sent_bytes),
        );
        self.gauge(
            "process_start_time_seconds",
            "When the process was started, seconds since the Unix epoch.",
            accounting.start_unix_seconds,
        );
        let gauges = [
            ("process_max_fds", "Descriptors that may be open.", accounting.fd_limit),
            ("process_open_fds", "Open descriptors.", accounting.open_fds),
            ("process_resident_memory_bytes", "Resident memory.", accounting.resident_bytes),
            ("process_virtual_memory_bytes", "Virtual memory.", accounting.virtual_bytes),
            ("process_virtual_memory_max_bytes", "Virtual memory allowed.", accounting.virtual_limit_bytes),
        ];
        for (name, help, value) in gauges {
            self.gauge(name, help, number(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(runtime: &RuntimeMetrics, accounting: Option<&Accounting>) -> String {
        let mut out = Vec::new();
        write(&mut out, runtime, accounting, None).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn everything_known_is_38_families() {
        let runtime = RuntimeMetrics {
            go_version: "go1.26.6".to_owned(),
            goroutines: Some(8),
            threads: Some(7),
            gomaxprocs: Some(2),
            heap: Some(HeapStats { heap_alloc: 2_000_000, ..HeapStats::default() }),
            mspan_inuse: Some(1),
            mcache_inuse: Some(2),
            collections: Some(Collections {
                cycles: 2,
                pause_total_ns: 1_500_000_000,
                pauses_ns: vec![500_000_000, 1_000_000_000],
                last_unix_ns: 3_000_000_000,
            }),
            gc_percent: Some(-1),
            memory_limit: Some(i64::MAX.unsigned_abs()),
            next_goal: Some(4 << 20),
        };
        let accounting = Accounting {
            cpu_seconds: Some(0.25),
            start_unix_seconds: Some(1.5),
            virtual_bytes: Some(1),
            virtual_limit_bytes: Some(u64::MAX),
            resident_bytes: Some(2),
            open_fds: Some(3),
            fd_limit: Some(4),
            received_bytes: Some(5),
            sent_bytes: Some(6),
        };
        let text = text(&runtime, Some(&accounting));
        assert_eq!(text.lines().filter(|line| line.starts_with("# TYPE ")).count(), 38, "{text}");
        for line in [
            "go_info{version=\"go1.26.6\"} 1",
            "go_goroutines 8",
            "go_memstats_alloc_bytes 2e+06",
            "go_gc_gogc_percent 1.8446744073709552e+19",
            "go_gc_gomemlimit_bytes 9.223372036854776e+18",
            "go_gc_duration_seconds{quantile=\"0\"} 0.5",
            "go_gc_duration_seconds{quantile=\"0.5\"} 1",
            "go_gc_duration_seconds_sum 1.5",
            "go_gc_duration_seconds_count 2",
            "process_virtual_memory_max_bytes 1.8446744073709552e+19",
            "process_cpu_seconds_total 0.25",
        ] {
            assert!(text.lines().any(|have| have == line), "{line} is not in:\n{text}");
        }
    }

    #[test]
    fn families_of_several_programs_are_together() {
        let member = |name: &str, goroutines| Member {
            labels: vec![("service", name.to_owned())],
            read: Some((RuntimeMetrics { goroutines, ..RuntimeMetrics::default() }, None)),
        };
        let gone = Member { read: None, ..member("c", None) };
        let mut out = Vec::new();
        write_all(&mut out, vec![member("a", Some(3)), member("b", None), gone]).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("# HELP ")).collect();
        let expected = [
            "# TYPE go_goroutines gauge",
            "go_goroutines{service=\"a\"} 3",
            "# TYPE go_info gauge",
            "go_info{service=\"a\",version=\"\"} 1",
            "go_info{service=\"b\",version=\"\"} 1",
            "# TYPE gospy_up gauge",
            "gospy_up{service=\"a\"} 1",
            "gospy_up{service=\"b\"} 1",
            "gospy_up{service=\"c\"} 0",
        ];
        assert_eq!(lines, expected, "{text}");
    }

    #[test]
    fn what_is_unknown_is_left_out() {
        let text = text(&RuntimeMetrics { go_version: "go1.26.6".to_owned(), ..RuntimeMetrics::default() }, None);
        assert_eq!(text.lines().count(), 3, "{text}");
    }
}
