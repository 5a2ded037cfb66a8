//! What is made of a recording is what would have been made of the samples themselves.

use std::path::Path;

use clap::Parser;

use super::*;
use crate::analysis::series::{Observed, Watching};
use crate::commands::record::Outputs;
use crate::commands::record_args::OutputArgs;
use crate::model::testing::later;

const SECOND: u64 = 1_000_000_000;

#[derive(Parser)]
struct Typed {
    #[command(flatten)]
    output: OutputArgs,
}

/// Two minutes of a program: some wait throughout, some go back and forth, some come and go.
fn samples() -> Vec<Snapshot> {
    let sample = |second: u64| {
        let mut builder = SnapshotBuilder::new();
        for id in 1..40_u64 {
            let (status, reason) = match (id + second) % 5 {
                0 if id % 2 == 0 => (Status::Running, None),
                1 if id % 3 == 0 => (Status::Waiting, Some("sync.Mutex.Lock")),
                _ => (Status::Waiting, Some("select")),
            };
            let line = if id % 7 == 0 { u32::try_from(second % 3).unwrap() } else { 7 };
            let frames = vec![frame("runtime.gopark", "/go/proc.go", 1), frame("main.work", "/work.go", line)];
            let labels = if id % 4 == 0 { vec![("tenant", "a;b")] } else { Vec::new() };
            let id = if id % 9 == 0 { id + 100 * (second / 10) } else { id };
            builder.add(&GoroutineSpec { id, status, reason, frames, labels, system: id == 3, ..Default::default() });
        }
        let mut snapshot = builder.build();
        snapshot.goroutines.sort_by_key(|goroutine| goroutine.id);
        for goroutine in &mut snapshot.goroutines {
            // Only those with a 1 stay where they are.
            let stays = goroutine.id.0 % 10 == 1;
            goroutine.run_seq = Some(if stays { 9 } else { second.to_le_bytes()[0] });
            if stays {
                (goroutine.sp.0, goroutine.addr.0) = (0x1000, goroutine.id.0 * 0x200);
            }
        }
        later(&mut snapshot, second * SECOND);
        snapshot
    };
    (0..120).map(sample).collect()
}

fn streams<'s>(out: &'s mut Vec<u8>, err: &'s mut Vec<u8>, input: &'s mut io::Empty) -> Streams<'s> {
    Streams {
        out,
        err,
        input,
        in_is_terminal: false,
        out_is_terminal: false,
        err_is_terminal: false,
        columns: Some(80),
        environment: Environment::default(),
        choice: ColourChoice::Auto,
    }
}

/// As `gospy record` writes them.
fn record(samples: &[Snapshot], words: &[&str]) {
    let typed = Typed::parse_from(std::iter::once(&"record").chain(words));
    let (mut out, mut err, mut input) = (Vec::new(), Vec::new(), io::empty());
    let mut streams = streams(&mut out, &mut err, &mut input);
    let mut outputs = Outputs::new(&typed.output, &streams).unwrap();
    let mut watching = Watching::default();
    for sample in samples {
        let observed: &Observed = &watching.observe(sample.clone());
        outputs.add(observed).unwrap();
    }
    outputs.finish(&mut streams).unwrap();
}

fn run_words(words: &[&str]) -> (Exit, String, String) {
    let (mut out, mut err, mut input) = (Vec::new(), Vec::new(), io::empty());
    let exit = {
        let mut streams = streams(&mut out, &mut err, &mut input);
        let words = std::iter::once("gospy").chain(words.iter().copied()).map(str::to_owned);
        run(words, &crate::commands::live::Live, &mut streams)
    };
    (exit, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn reports_of_a_recording_are_what_record_writes_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| text(&directory.path().join(name));
    let samples = &samples()[..30];
    record(samples, &["-o", &at("all.gospyrec")]);
    for options in [
        &[][..],
        &["--idle", "--system"],
        &["--group-by", "state"],
        &["--group-by", "object"],
        &["--group-by", "goroutine", "--idle"],
        &["--group-by", "label=tenant", "--filter", "id<30"],
        &["--only", "waiting"],
    ] {
        for ending in ["folded", "json", "svg", "html", "pb.gz"] {
            let (direct, again) = (at(&format!("direct.{ending}")), at(&format!("again.{ending}")));
            record(samples, &[&["-o", &direct, "--timeline", &at("direct.trace")], options].concat());
            let words = ["report", &at("all.gospyrec"), "-o", &again, "--timeline", &at("again.trace")];
            let (exit, _, err) = run_words(&[&words, options].concat());
            assert_eq!(exit, Exit::Done, "{err}");
            let read = |path: &str| std::fs::read(path).unwrap();
            assert!(read(&direct).len() > 20, "{ending} {options:?}");
            assert!(read(&direct) == read(&again), "{ending} {options:?}");
            assert!(read(&at("direct.trace")) == read(&at("again.trace")), "{ending} {options:?}");
        }
    }
}

/// Waits as long as the samples before show, in whichever one.
#[test]
fn a_moment_in_a_recording_has_the_ages_that_samples_before_it_show() {
    let directory = tempfile::tempdir().unwrap();
    let file = text(&directory.path().join("all.gospyrec"));
    record(&samples(), &["-o", &file]);
    let ages = |at: &str| -> Vec<(u64, Option<u64>)> {
        let (exit, out, err) = run_words(&["summary", "--json", "--from", &file, "--at", at]);
        assert_eq!(exit, Exit::Done, "{err}");
        let json: serde_json::Value = serde_json::from_str(&out).unwrap();
        let list = json["goroutines"]["list"].as_array().unwrap();
        list.iter()
            .map(|goroutine| {
                let age = goroutine["wait_ns"].as_u64().map(|ns| ns / SECOND);
                assert_eq!(age.is_some(), goroutine["wait_source"] == "watched", "{goroutine}");
                (goroutine["id"].as_u64().unwrap(), age)
            })
            .collect()
    };
    assert!(ages("+0s").iter().all(|(_, age)| age.is_none()));
    // Three intervals confirm the wait of those that stay where they are.
    for (at, seconds) in [("+2s", None), ("+20s", Some(18_u64)), ("+50s", Some(48)), ("-0s", Some(115))] {
        let ages = ages(at);
        // Of long recordings not every sample is looked at.
        let near = |age: Option<u64>| match (age, seconds) {
            (Some(age), Some(seconds)) => (seconds.saturating_sub(4)..=seconds + 2).contains(&age),
            (age, seconds) => age == seconds,
        };
        let still = [11, 31].map(|id| ages.iter().find(|(one, _)| *one == id).unwrap().1);
        println!("{at}: {ages:?}");
        assert!(still.into_iter().all(near), "{at}: {still:?}");
        let others = ages.iter().filter(|(id, _)| id % 10 != 1);
        assert!(others.clone().count() > 20 && others.clone().all(|(_, age)| age.is_none()), "{at}: {ages:?}");
    }
}

/// What others read the same files with.
#[test]
fn inferno_reads_what_is_folded() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.folded");
    record(&samples(), &["-o", &text(&path), "--idle"]);
    let folded = std::fs::read_to_string(&path).unwrap();
    let all: u64 = folded.lines().map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum();
    let mut options = inferno::flamegraph::Options::default();
    let mut svg = Vec::new();
    inferno::flamegraph::from_lines(&mut options, folded.lines(), &mut svg).unwrap();
    let svg = String::from_utf8(svg).unwrap();
    let grouped = |number: u64| {
        let digits = number.to_string();
        let parts: Vec<&str> =
            digits.as_bytes().rchunks(3).rev().map(|part| std::str::from_utf8(part).unwrap()).collect();
        parts.join(",")
    };
    // It skips lines that it cannot read; so all of them have to be in its total.
    assert!(svg.contains(&format!("all ({} samples, 100%)", grouped(all))), "{all}: {svg}");
}
