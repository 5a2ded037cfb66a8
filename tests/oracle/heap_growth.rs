//! Whether a heap grows, of programs that say what they keep; and of programs whose heap goes up and down.

use std::thread::{scope, spawn};

use crate::support::core_dump::gcore;
use crate::support::{Fixture, Mode, Running, Tally, VERSIONS, gospy};
use serde_json::Value;

const KEPT: u64 = 2 << 20;

fn start(version: &str, kind: &[&str]) -> Running {
    Fixture::start("grow", version, Mode::Sw, kind)
}

/// What `heap --watch` says, and how much a program that leaks had kept before and after.
fn watched(running: &mut Running) -> (Value, u64) {
    let kept = |running: &mut Running| running.ask("truth")["kept"].as_u64().unwrap();
    let before = kept(running);
    let pid = running.pid().to_string();
    let found = gospy(&["heap", "--pid", &pid, "--watch", "4s", "--interval", "80ms", "--json"]).json();
    (found, kept(running) - before)
}

#[test]
fn what_grows_is_found_with_its_place_and_its_rate() {
    let mut all = Tally::new("heaps that grow");
    let bytes = KEPT.to_string();
    for versions in VERSIONS.chunks(2) {
        let tallies: Vec<Tally> = scope(|scope| {
            let watch = |version: &'static str| {
                let bytes = bytes.clone();
                move || {
                    let mut tally = Tally::new(version);
                    let mut running = start(version, &["leak", &bytes]);
                    let (found, kept) = watched(&mut running);
                    tally.equal("judgement", "grows", found["judgement"].as_str().unwrap());
                    let rate = |trend: &Value, of: &str| trend["rate"][of].as_f64().unwrap_or(f64::NAN);
                    let live = &found["live"];
                    let low = rate(live, "least_per_second") * 0.95;
                    tally.between("rate of what is live", low, KEPT as f64, rate(live, "most_per_second") * 1.05);
                    let span = rate(live, "span_seconds");
                    tally.between("growth", 0.7 * kept as f64, rate(live, "per_second") * span, 1.1 * kept as f64);
                    let parts = found["growing"].as_array().unwrap();
                    let site = parts.iter().find(|part| part["kind"] == "site").unwrap_or(&Value::Null);
                    tally.equal("place", Some("main.leak"), site["place"]["function"].as_str());
                    let class = parts.iter().find(|part| part["kind"] == "size_class").unwrap_or(&Value::Null);
                    tally.equal("size class", Some(16 << 10), class["object_bytes"].as_u64());
                    let exact = rate(&class["trend"], "per_second");
                    tally.between("rate of the size class", 0.9 * KEPT as f64, exact, 1.1 * KEPT as f64);
                    tally.equal("parts that grow", 2, parts.len());
                    tally
                }
            };
            let threads: Vec<_> = versions.iter().map(|version| scope.spawn(watch(version))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        tallies.into_iter().for_each(|tally| all.add(tally));
    }
    all.check(8 * 7);
}

/// However the collector and the readings fall together.
#[test]
fn what_is_collected_is_no_growth() {
    let mut all = Tally::new("heaps that do not grow");
    for versions in VERSIONS.chunks(2) {
        let threads = versions.iter().flat_map(|version| ["healthy", "waves"].map(|kind| (*version, kind)));
        let threads: Vec<_> = threads
            .map(|(version, kind)| {
                spawn(move || {
                    let mut tally = Tally::new(format!("{version} {kind}"));
                    let calm = ["rests"].as_slice();
                    let waves = ["rests", "too_noisy"].as_slice();
                    let fits = if kind == "healthy" { calm } else { waves };
                    let is_fit = |found: &Value| fits.contains(&found["judgement"].as_str().unwrap());
                    let (mut found, _) = watched(&mut start(version, &[kind]));
                    if !is_fit(&found) {
                        // Chance makes one of very many rise a little, and not the same one twice.
                        (found, _) = watched(&mut start(version, &[kind]));
                    }
                    tally.holds(format!("judgement of {found}"), is_fit(&found));
                    tally.equal("what grows", &Vec::<Value>::new(), found["growing"].as_array().unwrap());
                    tally
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| all.add(thread.join().unwrap()));
    }
    all.check(8 * 2 * 2);
}

/// One rise without a collection is all that there is to see.
#[test]
fn a_rise_between_two_collections_is_not_judged() {
    let (found, _) = watched(&mut start("1.26.6", &["slow"]));
    assert!(found["judgement"] == "too_few_cycles" && found["allocated_bytes"].as_u64() > Some(1 << 20), "{found}");
    assert_eq!(found["growing"].as_array().unwrap().len(), 0, "{found}");
}

#[test]
fn a_check_fails_on_a_heap_that_grows_faster_than_is_allowed() {
    let bytes = KEPT.to_string();
    let directory = tempfile::tempdir().unwrap();
    let junit = directory.path().join("junit.xml").display().to_string();
    let watch = |running: &Running, length: &str, rate: &str, more: &[&str]| {
        let pid = running.pid().to_string();
        let arguments = ["check", "--pid", &pid, "--watch", length, "--interval", "100ms", "--max-heap-growth", rate];
        gospy(&[&arguments, more].concat())
    };
    // On a busy machine the program grows unevenly, and it takes longer to judge it, as is said then.
    let check = |running: &Running, rate: &str, more: &[&str]| {
        let mut found = watch(running, "4s", rate, more);
        for longer in ["12s", "36s"] {
            if found.code() == 8 {
                found = watch(running, longer, rate, more);
            }
        }
        found
    };
    let leaking = start("1.26.6", &["leak", &bytes]);
    let found = check(&leaking, "1MiB/m", &["--github", "--junit", &junit]);
    assert_eq!(found.code(), 7, "{found:?}");
    assert!(found.stdout.contains("FAIL  --max-heap-growth 1MiB/m: the live heap grows steadily, by "), "{found:?}");
    assert!(found.stdout.contains("allocated in main.leak "), "{found:?}");
    assert!(found.stdout.contains("::error title=gospy check%3A --max-heap-growth 1MiB/m"), "{found:?}");
    let xml = std::fs::read_to_string(&junit).unwrap();
    assert!(xml.contains(r#"<failure type="max-heap-growth""#) && xml.contains("allocated in main.leak "), "{xml}");
    let found = check(&leaking, "1GiB/m", &["--json"]);
    assert_eq!(found.code(), 0, "{found:?}");
    let found = check(&leaking, "0", &["--json"]);
    assert_eq!(found.code(), 7, "{found:?}");
    let found: Value = serde_json::from_str(&found.stdout).unwrap();
    let rules = found["rules"].as_array().unwrap();
    let rule = rules.iter().find(|rule| rule["name"] == "max-heap-growth").unwrap();
    let offenders = rule["offenders"].as_array().unwrap();
    // What grows faster, by what the samples stand for, is above.
    let mut kinds: Vec<_> = offenders.iter().map(|part| part["heap"]["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds.first(), Some(&"live"), "{rule}");
    kinds.sort_unstable();
    assert_eq!(kinds, ["live", "site", "size_class"], "{rule}");
    let site = offenders.iter().find(|part| part["heap"]["kind"] == "site").unwrap();
    assert_eq!(site["heap"]["place"]["function"], "main.leak", "{rule}");
    drop(leaking);
    let found = check(&start("1.26.6", &["healthy"]), "1MiB/m", &[]);
    // What would have been found, and with which confidence, is said.
    assert!(
        found.code() == 0
            && found.stdout.contains("PASS  --max-heap-growth 1MiB/m: no steady growth")
            && found.stdout.contains("would have been detected with 99.99 % confidence"),
        "{found:?}"
    );
    let found = watch(&start("1.26.6", &["slow"]), "4s", "1KiB/m", &[]);
    assert!(
        found.code() == 8 && found.stdout.contains("0 GC cycles seen during the watch, and growth needs 7"),
        "{found:?}"
    );
}

/// `run` reads the heap with each capture of each program that it starts.
#[test]
fn a_run_fails_on_a_heap_that_grows() {
    let path = Fixture::build("grow", "1.26.6", Mode::Sw).display().to_string();
    let script = |kind: &str| format!("sleep 4 | {path} {kind} >/dev/null");
    for (kind, code) in [("leak 2097152", 7), ("healthy", 0)] {
        let script = script(kind);
        let arguments = ["run", "--capture-every", "100ms", "--max-heap-growth", "1MiB/m", "--", "sh", "-c", &script];
        let found = gospy(&arguments);
        assert_eq!(found.code(), code, "{kind}: {found:?}");
        assert_eq!(found.stderr.contains("allocated in main.leak "), code == 7, "{kind}: {found:?}");
    }
}

/// What has grown between two moments, by what the program says that it has kept, from each kind of file.
#[test]
fn what_grew_between_two_moments_is_what_was_kept() {
    let mut all = Tally::new("growth between two moments");
    let bytes = KEPT.to_string();
    let directory = tempfile::tempdir().unwrap();
    for version in VERSIONS {
        let mut tally = Tally::new(version);
        let mut running = start(version, &["leak", &bytes]);
        let pid = running.pid().to_string();
        let path = |name: &str| directory.path().join(format!("{version}-{name}")).display().to_string();
        let mut files = Vec::new();
        for (name, arguments) in [("heap.json", &["heap"][..]), ("objects.json", &["heap", "--objects"])] {
            let kept = running.ask("truth")["kept"].as_u64().unwrap();
            let output = gospy(&[arguments, &["--pid", &pid, "--json"]].concat()).ok();
            std::fs::write(path(name), output).unwrap();
            files.push((path(name), kept));
        }
        let kept = running.ask("truth")["kept"].as_u64().unwrap();
        gospy(&["capture", "--pid", &pid, "-o", &path("capture"), "--heap"]).ok();
        files.push((path("capture"), kept));
        let kept = running.ask("truth")["kept"].as_u64().unwrap();
        let core = gcore(running.pid(), directory.path()).display().to_string();
        files.push((core.clone(), kept));
        std::thread::sleep(std::time::Duration::from_secs(4));
        // Of types there are none to 1.21.
        let typed = !["1.19", "1.20", "1.21"].iter().any(|old| version.starts_with(old));
        for (nth, (file, before)) in files.iter().enumerate() {
            let grew = |found: &Value, kind: &str, fits: &dyn Fn(&Value) -> bool| -> Option<f64> {
                let changes = found["changes"].as_array().unwrap().iter().find(|of| of["kind"] == kind).unwrap();
                let parts = changes["parts"].as_array()?;
                Some(parts.iter().find(|part| fits(part)).map_or(0.0, |part| part["grew_bytes"].as_f64().unwrap()))
            };
            // Sweeps show what was kept up to two cycles ago. Where these take long, more time has to pass.
            let (mut found, mut kept, mut class);
            let mut reading = 0;
            loop {
                found = gospy(&["heap", "--pid", &pid, "--objects", "--since", file, "--json"]).json();
                kept = (running.ask("truth")["kept"].as_u64().unwrap() - before) as f64;
                class = grew(&found, "size_classes", &|part| part["object_bytes"] == 16 << 10);
                reading += 1;
                if reading == 3 || class.is_none_or(|grew| grew < 1.2 * kept) {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_secs(2));
            }
            let site = grew(&found, "sites", &|part| part["place"]["function"] == "main.leak");
            let of_type = grew(&found, "types", &|part| part["type"] == "[]uint8");
            let root = grew(&found, "kept_by", &|part| part["kept_by"] == "variables");
            let (heap, objects) = (nth != 1, nth != 0);
            for (what, wanted, grew) in [
                ("site", heap, site),
                ("size class", heap, class),
                ("type", objects && typed, of_type),
                ("root", objects, root),
            ] {
                let what = format!("{what} since {file}");
                match (wanted, grew) {
                    // A profile is up to the cycle before the last.
                    (true, Some(grew)) => tally.between(what, 0.6 * kept, grew, 1.2 * kept),
                    (true, None) => tally.holds(format!("{what} is there"), false),
                    // To 1.21 all is of an unknown type, by size.
                    (false, grew) => tally.holds(what, grew.is_none() || (objects && grew == Some(0.0))),
                }
            }
            // What a core file has is older than it by as long as it takes to write it.
            let is_same = found["same_run"].as_bool();
            tally.holds("same run", is_same == Some(true) || (is_same.is_none() && *file == core));
        }
        std::fs::remove_file(core).unwrap();
        all.add(tally);
    }
    all.check(8 * 4 * 5);
}
