//! What is on the heap, against a program that knows every object on its own, the runtime's counts, and the
//! collector's.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::leaks::{marked, session};
use crate::support::core_dump::gcore;
use crate::support::{Fixture, Mode, Running, Tally, VERSIONS, gospy, until};
use gospy::analysis::Index;
use gospy::analysis::objects::{OnlyFrom, groups};
use gospy::capture::{CaptureOptions, OpenOptions, Session};
use gospy::heap::Progress;
use gospy::heap::objects::{Keeper, ObjectOptions, Objects, Root, Standing, Wanted, find};
use gospy::process::core::{CoreOptions, CoreTarget};
use serde_json::Value;

fn objects(session: &Session, options: &ObjectOptions) -> Objects {
    let found = find(session.process(), options, &Progress::default(), |_| {});
    found.unwrap_or_else(|error| panic!("{}: {error}", session.runtime().version))
}

fn frozen() -> ObjectOptions {
    ObjectOptions { freeze: true, ..ObjectOptions::default() }
}

fn minor(version: &str) -> u32 {
    version.split('.').nth(1).unwrap().parse().unwrap()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

/// Goroutines by the function that they are in.
fn only(session: &mut Session, function: &str) -> Vec<u64> {
    let snapshot = session.capture(&CaptureOptions { stacks: true, ..CaptureOptions::default() }).unwrap();
    OnlyFrom::Function(function.to_owned()).ids(&Index::new(&snapshot)).unwrap()
}

fn modes(version: &str) -> Vec<Mode> {
    match version {
        "1.19" | "1.24.11" => vec![Mode::Default, Mode::PieSw],
        "1.27.3" => vec![Mode::Default, Mode::Sw, Mode::CgoSw],
        _ => vec![Mode::Sw],
    }
}

/// As many objects and bytes are allocated as `runtime.MemStats` says, and what is live of them is what the
/// collector keeps: after a collection there is no garbage but what was allocated black during it. What is let go of
/// is garbage, all of it.
#[test]
fn live_and_garbage_are_the_runtimes() {
    let mut all = Tally::new("live and garbage");
    for version in VERSIONS {
        for mode in modes(version) {
            let mut running = Fixture::start("objects", version, mode, &["2000"]);
            let mut tally = Tally::new(format!("{version} {}", mode.name()));
            running.ask("gc");
            running.ask("memory");
            let memory = running.ask("memory");
            std::thread::sleep(Duration::from_millis(200));
            let session = session(running.pid());
            let clean = objects(&session, &frozen());
            tally.holds(format!("{:?}", clean.notes), clean.notes.is_empty());
            tally.holds("it stood still", matches!(clean.standing, Standing::Frozen(_)));
            // The answer itself takes a few; MemStats counts values of a tiny block one by one.
            let (count, bytes) = (number(&memory["objects"]), number(&memory["alloc"]));
            let allocated = clean.live.with(clean.garbage);
            tally.between("bytes", bytes - 64, allocated.bytes, bytes + 8192);
            tally.between("objects", count - count / 100, allocated.objects, count + 200);
            tally.holds(format!("{:?} is left of a collection", clean.garbage), clean.garbage.objects * 100 < count);
            running.ask("garbage 5000");
            let after = objects(&session, &frozen());
            let more = after.garbage.beyond(clean.garbage);
            tally.between("garbage", 4999, more.objects, 5100);
            tally.between("bytes of garbage", 4999 * 64, more.bytes, 5000 * 64 + 8192);
            tally.between("live", clean.live.objects, after.live.objects + 20, clean.live.objects + 60);
            all.add(tally);
        }
    }
    all.check(80);
}

/// The mark in steps is the mark of all at once, which is the collector's (`leaks`), and its steps sum up to it.
#[test]
fn what_keepers_keep_sums_up() {
    let mut all = Tally::new("keepers");
    for version in VERSIONS {
        for program in ["objects", "leaks"] {
            let mut running =
                Fixture::start(program, version, Mode::Sw, if program == "leaks" { &["known", "3"] } else { &[] });
            running.ask("gc");
            std::thread::sleep(Duration::from_millis(300));
            let mut session = session(running.pid());
            let snapshot = session.capture(&CaptureOptions { stacks: true, ..CaptureOptions::default() }).unwrap();
            let groups: Vec<_> = groups(&Index::new(&snapshot)).into_iter().map(|group| group.ids).collect();
            let some = groups.first().cloned();
            let all_live = marked(&session, |_, _, pass| pass.stats.mark.objects);
            for only in [None, some] {
                let options = ObjectOptions { groups: groups.clone(), only, ..ObjectOptions::default() };
                let found = objects(&session, &options);
                let mut tally = Tally::new(format!("{program} {version}"));
                tally.holds("nothing ran", found.standing == Standing::Quiet);
                tally.equal("live", all_live, found.live.objects);
                let sum = found.kept.iter().fold((0, 0), |sum, (_, kept)| (sum.0 + kept.objects, sum.1 + kept.bytes));
                tally.equal("the sum", (found.live.objects, found.live.bytes), sum);
                let parts = found.untyped.iter().fold(found.typed(), |sum, class| sum.with(class.live));
                tally.equal("with types and without", found.live, parts);
                tally.holds(
                    "goroutines keep something",
                    found
                        .kept
                        .iter()
                        .any(|(by, kept)| matches!(by, Keeper::Group(_) | Keeper::Only) && kept.objects > 0),
                );
                all.add(tally);
            }
        }
    }
    all.check(150);
}

/// Types whose objects are reached from an interface have exactly the objects that the program has made of them.
#[test]
fn types_have_the_objects_that_the_program_made() {
    let mut all = Tally::new("types");
    for version in VERSIONS {
        for mode in modes(version) {
            let mut running = Fixture::start("objects", version, mode, &["3000"]);
            let truth = running.ask("truth");
            running.ask("queue");
            let found = objects(&session(running.pid()), &frozen());
            let mut tally = Tally::new(format!("{version} {}", mode.name()));
            let Some(types) = &found.types else {
                tally.holds("this version says types", minor(version) <= 21);
                all.add(tally);
                continue;
            };
            let counts: BTreeMap<&str, u64> = types.iter().map(|sum| (sum.name.as_str(), sum.live.objects)).collect();
            // Of these only the queue of finalizers says the type.
            tally.equal("main.late", 5, counts.get("main.late").copied().unwrap_or(0));
            for (name, count) in truth["types"].as_object().unwrap() {
                tally.equal(name, number(count), counts.get(name.as_str()).copied().unwrap_or(0));
            }
            // Nothing on the heap says what these are: a package variable has the first.
            let hidden = mode.has_dwarf().then_some(&1000);
            tally.equal("hidden", hidden, counts.get("main.hidden"));
            let share = found.typed().bytes as f64 / found.live.bytes as f64;
            eprintln!("{version} {}: {:.1} % of {} bytes", mode.name(), share * 100.0, found.live.bytes);
            tally.holds(format!("{share:.3} is typed"), share > 0.7);
            all.add(tally);
        }
    }
    all.check(100);
}

/// What package variables point to has a type by the DWARF of another file of the same build, where the program itself
/// is stripped.
#[test]
fn a_binary_of_the_same_build_has_the_types_of_variables() {
    let mut all = Tally::new("types by --bin");
    for version in ["1.22.10", "1.24.11", "1.27.3"] {
        let mut tally = Tally::new(version);
        let (_directory, stripped, with) = Fixture::stripped("objects", version);
        let running = Fixture::of(&stripped).run(&["100"]);
        let pid = running.pid().to_string();
        let hidden = |more: &[&str]| {
            let heap = ["heap", "--objects", "--freeze=all", "--json", "--limit", "0", "--pid", &pid];
            let found = gospy(&[&heap, more].concat()).json();
            let types = found["objects"]["types"].as_array().unwrap();
            types.iter().find(|row| row["name"] == "main.hidden").map(|row| number(&row["objects"]))
        };
        tally.equal("without it", None, hidden(&[]));
        tally.equal("with it", Some(1000), hidden(&["--bin", with.to_str().unwrap()]));
        all.add(tally);
    }
    all.check(3 * 2);
}

/// What only some goroutines keep is what the program gave them, whatever else they reach: shared parts, cycles,
/// finalizers, weak pointers, pools, timers.
#[test]
fn what_only_some_goroutines_keep_is_known() {
    let mut all = Tally::new("only from");
    for version in VERSIONS {
        let mut running = Fixture::start("objects", version, Mode::Sw, &["100"]);
        let truth = running.ask("truth");
        let mut session = session(running.pid());
        let mut tally = Tally::new(version);
        for (function, bytes) in truth["only"].as_object().unwrap() {
            let ids = only(&mut session, function);
            let found = objects(&session, &ObjectOptions { only: Some(ids), ..frozen() });
            tally.equal(function, number(bytes), found.only().unwrap().bytes);
        }
        // One of those that share keeps its own only.
        let ids = only(&mut session, "main.sharer");
        tally.equal("sharers", 3, ids.len());
        let found = objects(&session, &ObjectOptions { only: Some(vec![ids[0]]), ..frozen() });
        tally.equal("one sharer", 100 * 64, found.only().unwrap().bytes);
        let nobody = objects(&session, &ObjectOptions { only: Some(vec![]), ..frozen() });
        tally.equal("nobody", 0, nobody.only().unwrap().bytes);
        all.add(tally);
    }
    all.check(70);
}

/// Paths are short, begin at a root that is there, and name what lies between.
#[test]
fn paths_lead_from_a_root() {
    let mut all = Tally::new("paths");
    for version in VERSIONS {
        for mode in [Mode::Default, Mode::Sw] {
            let mut running = Fixture::start("objects", version, mode, &["500"]);
            running.ask("garbage 10");
            let truth = running.ask("truth");
            let session = session(running.pid());
            let mut tally = Tally::new(format!("{version} {}", mode.name()));
            let to = |wanted| objects(&session, &ObjectOptions { path_to: Some(wanted), ..frozen() }).path;
            let typed = minor(version) >= 22;
            let mut wanted = vec![Wanted::Address(number(&truth["chosen"]) + 8)];
            wanted.extend(typed.then(|| Wanted::Type("main.chosen".to_owned())));
            for wanted in wanted {
                let path = to(wanted).unwrap();
                tally.holds("it begins in a variable", matches!(path.root, Root::Variable(_)));
                // The second word of an interface.
                let name = (mode == Mode::Default).then(|| ("main.registry".to_owned(), 8));
                tally.equal("variable", name, path.variable.clone());
                tally.equal("objects", 2, path.steps.len());
                let names: Vec<_> = path.steps.iter().map(|step| step.type_name.as_deref()).collect();
                let fields: Vec<_> = path.steps.iter().map(|step| step.field.as_deref()).collect();
                if typed {
                    tally.equal("types", vec![Some("main.store"), Some("main.chosen")], names);
                    tally.equal("fields", vec![Some(".chosen"), None], fields);
                }
                tally.equal(
                    "offsets",
                    vec![Some(64), None],
                    path.steps.iter().map(|step| step.offset).collect::<Vec<_>>(),
                );
                tally.equal("end", number(&truth["chosen"]), path.steps[1].addr.0);
            }
            let owned = to(Wanted::Address(number(&truth["owned"]))).unwrap();
            tally.equal("owner", Root::Goroutine(number(&truth["owner"])), owned.root);
            tally.equal("nodes", 3, owned.steps.len());
            tally.equal("dead", None, to(Wanted::Address(number(&truth["dead"]))));
            tally.equal("no such type", None, to(Wanted::Type("main.nothing".to_owned())));
            all.add(tally);
        }
    }
    all.check(150);
}

/// A core file has what the process had when it was stopped.
#[test]
fn core_files_have_the_same_objects() {
    let mut all = Tally::new("objects in core files");
    for version in ["1.19", "1.22.10", "1.27.3"] {
        let running = Fixture::start("objects", version, Mode::Sw, &["500"]);
        running.wait_until_it_reads();
        let mut session = session(running.pid());
        let ids = only(&mut session, "main.owner");
        let options = ObjectOptions { only: Some(ids), ..frozen() };
        let live = objects(&session, &options);
        let dir = tempfile::tempdir().unwrap();
        let path = gcore(running.pid(), dir.path());
        let target = CoreTarget::open(&path, &CoreOptions::default()).unwrap();
        let core = objects(&Session::open(Box::new(target), &OpenOptions::default()).unwrap(), &options);
        let mut tally = Tally::new(version);
        tally.equal("standing", Standing::CoreFile, core.standing);
        tally.equal("live", live.live, core.live);
        tally.equal("garbage", live.garbage, core.garbage);
        // Which of several types that fit an object gets may depend on which thread is faster.
        let own = |found: &Objects| -> Vec<_> {
            found.types.iter().flatten().filter(|sum| sum.name.contains("main.")).cloned().collect()
        };
        tally.equal("types", own(&live), own(&core));
        tally.equal("only", live.only(), core.only());
        all.add(tally);
    }
    all.check(15);
}

/// While a program allocates, nothing is called exact, and it is said how much has changed.
#[test]
fn a_program_that_runs_gets_an_estimate() {
    let mut all = Tally::new("estimates");
    for version in ["1.19", "1.25.5", "1.27.3"] {
        let mut running: Running = Fixture::start("objects", version, Mode::Sw, &["3000"]);
        running.ask("churn");
        let mut tally = Tally::new(version);
        // The one goroutine that runs all the time may be at the same place before and after.
        let found = until("everything changes", || {
            let found = objects(&session(running.pid()), &ObjectOptions::default());
            let Standing::Running(changes) = found.standing else { panic!("{version}: {:?}", found.standing) };
            assert!(changes.objects > 0 && changes.spans > 0, "{version}: {changes:?}");
            (changes.goroutines > 0).then_some(found)
        });
        tally.holds("it is not exact", !found.standing.is_exact());
        tally.between("live", 30_000, found.live.objects, 70_000);
        running.ask("rest");
        all.add(tally);
    }
    all.check(6);
}

/// A slice that grows is copied to another place again and again, which is on no list of spans that was read before:
/// what it keeps is found all the same, or the answer says that it is missing.
#[test]
fn a_heap_that_grows_is_found_while_it_grows() {
    let mut tally = Tally::new("a heap that grows");
    // Nobody writes to what it keeps: it takes addresses, and no memory.
    let mut running = Fixture::start("grow", "1.26.6", Mode::Sw, &["leak", "60000000"]);
    let session = session(running.pid());
    for _ in 0..8 {
        let kept = number(&running.ask("truth")["kept"]);
        let found = objects(&session, &ObjectOptions::default());
        eprintln!("{kept} kept, {} live, {:?}", found.live.bytes, found.notes);
        let said = found.notes.iter().any(|note| note.contains("the last GC left "));
        tally.holds(format!("{} of {kept} are live", found.live.bytes), said || found.live.bytes >= kept / 4 * 3);
    }
    tally.check(8);
}
