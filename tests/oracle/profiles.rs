//! `stack --pprof` against the goroutine profile that the program writes of itself, both as
//! `go tool pprof` reads them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::fixture::script;
use crate::support::{Fixture, Mode, Running, VERSIONS, gospy};

/// What `go tool pprof` prints. The last releases come without that tool being built.
pub(crate) fn pprof(arguments: &[&str]) -> String {
    let tool = script("toolchain", &["1.24.11"]).join("pkg/tool/linux_amd64/pprof");
    // Nothing of it is to be looked up or kept anywhere.
    let empty = tempfile::tempdir().unwrap();
    let output = Command::new(tool)
        .args(arguments)
        .env("HOME", empty.path())
        .env("PPROF_TMPDIR", empty.path())
        .env("PPROF_BINARY_PATH", empty.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "pprof {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The profile that a program writes of itself, and that of gospy.
struct Both {
    directory: tempfile::TempDir,
    program: PathBuf,
}

impl Both {
    fn of(version: &str, mode: Mode, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut running = Fixture::start("profile", version, mode, &[]);
        let both = Self { directory, program: std::fs::read_link(format!("/proc/{}/exe", running.pid())).unwrap() };
        both.write(&mut running, arguments);
        both
    }

    fn write(&self, running: &mut Running, arguments: &[&str]) {
        let pid = running.pid().to_string();
        assert_eq!(running.ask(&self.path("own")), serde_json::Value::Null);
        let ours = self.path("ours");
        gospy(&[&["stack", "--pid", &pid, "--pprof", &ours], arguments].concat()).ok();
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }
}

/// What `pprof -raw` prints, with each sample's locations in place of their numbers.
struct Raw {
    /// `goroutine/count`
    sample_type: String,
    /// How many goroutines by labels and locations, leaf first, but for the main goroutine: it writes
    /// its profile in the one and waits in the other.
    samples: BTreeMap<(String, Vec<String>), u64>,
    /// Those of `program`: addresses, offset, file, build id.
    mapping: String,
}

fn raw(profile: &str, program: &Path) -> Raw {
    let text = pprof(&["-raw", profile]);
    let (samples, rest) = text.split_once("\nLocations\n").expect("locations");
    let (locations, mappings) = rest.split_once("\nMappings\n").expect("mappings");
    let mut places: BTreeMap<u64, String> = BTreeMap::new();
    let mut last = 0;
    for line in locations.lines() {
        match line.trim_start().split_once(": 0x") {
            Some((id, place)) => {
                last = id.parse().unwrap();
                places.insert(last, format!("0x{place}"));
            }
            // What it was inlined into.
            None => places.get_mut(&last).unwrap().push_str(&format!(" < {}", line.trim())),
        }
    }
    let mut raw = Raw { sample_type: String::new(), samples: BTreeMap::new(), mapping: String::new() };
    let samples = samples.split_once("Samples:\n").expect("samples").1;
    let mut lines = samples.lines().peekable();
    raw.sample_type = lines.next().unwrap().to_owned();
    while let Some(line) = lines.next() {
        let (count, ids) = line.split_once(':').unwrap_or_else(|| panic!("{line}"));
        let stack: Vec<String> = ids.split_whitespace().map(|id| places[&id.parse().unwrap()].clone()).collect();
        let mut labels = Vec::new();
        while let Some(label) = lines.next_if(|line| line.starts_with("                ")) {
            labels.push(label.trim().to_owned());
        }
        if !stack.iter().any(|place| place.contains(" main.main ")) {
            *raw.samples.entry((labels.join(" "), stack)).or_default() += count.trim().parse::<u64>().unwrap();
        }
    }
    let program = format!(" {} ", program.display());
    let mapping = mappings.lines().find(|line| line.contains(&program)).unwrap_or_else(|| panic!("{mappings}"));
    mapping.split(" [").next().unwrap().clone_into(&mut raw.mapping);
    raw
}

/// Everything is the same: addresses, functions with their type arguments, files, lines, start lines,
/// what was inlined, labels, counts, the mapping with its build id.
#[test]
fn a_profile_is_the_one_that_the_program_writes_of_itself() {
    let pie = [("1.22.10", Mode::PieSw), ("1.26.6", Mode::Pie), ("1.26.6", Mode::Cgo)];
    for (version, mode) in VERSIONS.map(|version| (version, Mode::Sw)).into_iter().chain(pie) {
        let both = Both::of(version, mode, &[]);
        let (own, ours) = (raw(&both.path("own"), &both.program), raw(&both.path("ours"), &both.program));
        assert_eq!(ours.sample_type, own.sample_type, "{version} {mode:?}");
        assert_eq!(ours.mapping, own.mapping, "{version} {mode:?}");
        assert!(own.samples.len() >= 11, "{version} {mode:?}: {:#?}", own.samples);
        assert_eq!(ours.samples, own.samples, "{version} {mode:?}");
        // The oracle has what this is about.
        let text = format!("{:?}", own.samples);
        assert!(text.contains("tenant:[blue]") && text.contains("s=") && text.contains("main.inlines"), "{text}");
        let generic = if version == "1.19" {
            "main.(*Pair[...]).hold"
        } else {
            "main.(*Pair[go.shape.string,go.shape.int]).hold"
        };
        assert!(text.contains(generic), "{version}: {text}");
    }
}

/// Flat and cumulative counts by function.
pub(crate) fn top(arguments: &[&str]) -> BTreeMap<String, (i64, i64)> {
    let text = pprof(arguments);
    let rows = text.lines().skip_while(|line| !line.contains("flat%")).skip(1);
    rows.map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        (words[5..].join(" "), (words[0].parse().unwrap(), words[3].parse().unwrap()))
    })
    .collect()
}

#[test]
fn the_difference_to_the_programs_own_is_only_what_it_does_itself() {
    let both = Both::of("1.26.6", Mode::Sw, &[]);
    let (own, ours) = (both.path("own"), both.path("ours"));
    let before = top(&["-top", "-nodefraction=0", &own]);
    let park = before["runtime.gopark"];
    assert_eq!(park.0, 44, "{before:#?}");
    assert_eq!(top(&["-top", "-nodefraction=0", &ours])["runtime.gopark"], park);
    let difference = top(&["-top", "-nodefraction=0", "-diff_base", &own, &ours]);
    // Only the main goroutine differs: it wrote its profile, and waits for a line now.
    assert_eq!(difference["runtime.goroutineProfileWithLabels"].0, -1, "{difference:#?}");
    assert_eq!(difference["syscall.Syscall"].0, 1, "{difference:#?}");
    for (function, change) in &difference {
        let parked = before.get(function).is_some_and(|count| count.1 > 1);
        assert!(!parked || *change == (0, 0), "{function} {change:?} in {difference:#?}");
    }
}

#[test]
fn there_is_a_sample_for_each_goroutine_on_request() {
    let both = Both::of("1.26.6", Mode::Sw, &["--all"]);
    let text = pprof(&["-raw", &both.path("ours")]);
    assert_eq!(text.matches("id:").count(), 45, "{text}");
    assert!(text.contains("wait_reason:[sync.Mutex.Lock]") && text.contains("tenant:[red]"), "{text}");
    let own = top(&["-top", "-nodefraction=0", &both.path("own")]);
    assert_eq!(top(&["-top", "-nodefraction=0", &both.path("ours")])["runtime.gopark"], own["runtime.gopark"]);
}
