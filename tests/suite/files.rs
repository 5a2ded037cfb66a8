//! Files that gospy writes and reads: whole or not at all, never through what somebody else has put
//! there; and streams in the place of files.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::files::{
    TIMED_OUT, example, idle, json_is_shown_as_its_captures, names, options, recording, run, shell,
};
use crate::support::refusal::{ERROR, USAGE};
use crate::support::{gospy, live, need};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn what_is_no_regular_file_is_never_written_to() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    std::fs::write(at("victim"), "precious").unwrap();
    std::fs::copy(example(), at("good.capture")).unwrap();
    std::fs::create_dir(at("directory")).unwrap();
    symlink("victim", at("link")).unwrap();
    symlink("good.capture", at("link to a capture")).unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    symlink("directory", at("link to a directory")).unwrap();
    nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    let before = names(directory.path());
    let capture = std::fs::read(at("good.capture")).unwrap();
    let mut bad: Vec<PathBuf> =
        ["link", "link to a capture", "dangling", "link to a directory", "directory", "fifo"].map(at).to_vec();
    bad.extend(["/dev/null", "/dev/full", "/dev/zero", "/dev/stdout", "/dev/fd/1", "/"].map(PathBuf::from));
    bad.extend([at("none/file"), at("victim/file"), at("trailing/")]);
    let mut refused = 0;
    for (option, words, status) in options() {
        for file in &bad {
            let output = run(&words, file, &at("started"));
            assert_eq!(output.code(), status, "{option} {}: {output:?}", file.display());
            let name = file.to_str().unwrap();
            assert!(
                output.stderr.contains(name) && output.stderr.matches("gospy: ").count() == 1,
                "{option}: {output:?}"
            );
            refused += 1;
        }
        assert_eq!(names(directory.path()), before, "{option}");
        assert!(std::fs::metadata("/dev/null").unwrap().file_type().is_char_device(), "{option}");
    }
    assert_eq!(std::fs::read_to_string(at("victim")).unwrap(), "precious");
    assert_eq!(std::fs::read(at("good.capture")).unwrap(), capture);
    println!("{refused} refused");
}

#[test]
fn files_of_ones_own_are_replaced_where_that_is_expected() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    for (option, words, status) in options() {
        // It has to be written for nothing but that reason.
        let mut words = words;
        if option == "run --dump" {
            words = ["run", "--timeout", "1s", "--dump", "FILE", "--", "sh", "-c", &idle()].map(str::to_owned).to_vec();
        }
        let done = if option == "run --dump" { TIMED_OUT } else { 0 };
        std::fs::write(&file, "somebody's notes").unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
        if matches!(option, "capture" | "capture --redact") {
            let output = run(&words, &file, &file);
            assert_eq!(output.code(), status, "{output:?}");
            assert!(output.stderr.contains("--force"), "{output:?}");
            assert_eq!(std::fs::read_to_string(&file).unwrap(), "somebody's notes");
            std::fs::copy(example(), &file).unwrap();
        }
        for _ in 0..2 {
            let output = run(&words, &file, &file);
            assert_eq!(output.code(), done, "{option}: {output:?}");
            assert_eq!(mode(&file), 0o600, "{option}");
            assert_ne!(std::fs::read(&file).unwrap(), b"somebody's notes", "{option}");
            assert_eq!(names(directory.path()), ["file"], "{option}");
        }
        std::fs::remove_file(&file).unwrap();
    }
}

/// A graph says by its name what it is.
#[test]
fn a_graph_is_a_file_like_any_other() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    std::fs::write(at("victim"), "precious").unwrap();
    for ending in ["svg", "dot", "mmd", "json"] {
        let (link, file) = (at(&format!("link.{ending}")), at(&format!("new.{ending}")));
        symlink("victim", &link).unwrap();
        let refused = gospy(&["waits", "--from", &example(), "--graph", link.to_str().unwrap()]);
        assert_eq!(refused.code(), ERROR, "{ending}: {refused:?}");
        assert!(refused.stderr.contains("is a symbolic link"), "{ending}: {refused:?}");
        gospy(&["waits", "--from", &example(), "--graph", file.to_str().unwrap()]).ok();
        assert_eq!(mode(&file), 0o600, "{ending}");
    }
    assert_eq!(std::fs::read_to_string(at("victim")).unwrap(), "precious");
}

/// Every command that reads a file, with FILE where it is named.
const READERS: [&str; 20] = [
    "summary --from FILE",
    "summary --from FILE --redact",
    "summary --from FILE --html OUT",
    "stack --from FILE",
    "stack --from FILE --json",
    "top --from FILE --once",
    "waits --from FILE",
    "why --from FILE",
    "leaks --from FILE",
    "heap --from FILE",
    "heap --from FILE --objects",
    "heap --from FILE --since FILE",
    "contention --from FILE",
    "var main.x --from FILE",
    "capture --from FILE -o OUT",
    "capture --from FILE -o OUT --redact",
    "check --from FILE --max-goroutines 9999",
    "diff FILE GOOD",
    "diff GOOD FILE --redact",
    "report FILE --idle --format html -o OUT",
];

/// Whatever is wrong with a file, each command names it, says what is wrong in the same words, once, and writes
/// nothing.
#[test]
fn a_damaged_file_is_named_by_what_is_wrong_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let (capture, recorded) = (std::fs::read(example()).unwrap(), std::fs::read(recording()).unwrap());
    let json = gospy(&["stack", "--from", &example(), "--json"]).ok().into_bytes();
    let cut = |bytes: &[u8]| bytes[..bytes.len() / 2].to_vec();
    let flipped = |bytes: &[u8], at: usize| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 1;
        bytes
    };
    let middle = |bytes: &[u8]| flipped(bytes, bytes.len() / 2);
    // The version is the second word of both. Its checksum is not looked at: another version may have another one.
    let newer = |bytes: &[u8]| [&bytes[..8], &[99, 0, 0, 0][..], &bytes[12..]].concat();
    let elf = std::fs::read("/proc/self/exe").unwrap();
    for (name, bytes) in [
        ("empty", Vec::new()),
        ("text", b"hello, world\n".to_vec()),
        ("zeros", vec![0; 4096]),
        ("program", elf[..4096.min(elf.len())].to_vec()),
        ("capture.cut", cut(&capture)),
        ("capture.head", capture[..10].to_vec()),
        ("capture.flipped", middle(&capture)),
        ("capture.magic", flipped(&capture, 3)),
        ("capture.newer", newer(&capture)),
        ("recording.head", recorded[..10].to_vec()),
        ("recording.magic", flipped(&recorded, 3)),
        ("recording.newer", newer(&recorded)),
        ("json.cut", cut(&json)),
        ("json.other", b"{\"a\": 1}".to_vec()),
    ] {
        std::fs::write(at(name), bytes).unwrap();
    }
    std::fs::create_dir(at("directory")).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    // What each is to be called, in the words of some command at least: of a file whose kind is known, all.
    let wrong: [(&str, &[&str]); 19] = [
        ("empty", &["is empty"]),
        ("text", &["is not a file that gospy reads"]),
        ("zeros", &["is not a file that gospy reads"]),
        ("program", &["it is an ELF file, but a program or library", "not a recording"]),
        ("capture.cut", &["truncated", "not a recording"]),
        ("capture.head", &["truncated", "not a recording"]),
        ("capture.flipped", &["damaged", "not a recording"]),
        ("capture.magic", &["is not a file that gospy reads"]),
        ("capture.newer", &["newer", "not a recording"]),
        ("recording.head", &["it is cut off in its head", "is a recording"]),
        ("recording.magic", &["is not a file that gospy reads"]),
        ("recording.newer", &["format version 99", "is a recording"]),
        ("json.cut", &["EOF while parsing", "is a snapshot in JSON", "not a recording"]),
        ("json.other", &["the key schema_version is missing", "is a snapshot in JSON", "not a recording"]),
        ("directory", &["is a directory"]),
        ("socket", &["is a socket"]),
        ("dangling", &["No such file"]),
        ("nothing", &["No such file"]),
        ("/dev/zero", &["is a device"]),
    ];
    let out = at("out");
    let mut bad = Vec::new();
    for (name, reasons) in wrong {
        let file = if name.starts_with('/') { PathBuf::from(name) } else { at(name) };
        let shown = file.display().to_string();
        for reader in READERS {
            let words: Vec<String> = reader
                .split(' ')
                .map(|word| match word {
                    "FILE" => shown.clone(),
                    "GOOD" => example(),
                    "OUT" => out.display().to_string(),
                    other => other.to_owned(),
                })
                .collect();
            let output = gospy(&words.iter().map(String::as_str).collect::<Vec<_>>());
            let said = &output.stderr;
            let says = reasons.iter().any(|reason| said.contains(reason));
            let messages = said.lines().filter(|line| line.starts_with("gospy: ")).count();
            let once = messages == 1 && said.matches(&shown).count() == 1;
            if output.code() != ERROR || !says || !once || !output.stdout.is_empty() {
                bad.push(format!("{reader}: {name}: status {}: {said}{}", output.code(), output.stdout));
            }
            assert!(!out.exists(), "{reader}: {name}");
        }
    }
    assert!(bad.is_empty(), "{} of {}:\n{}", bad.len(), READERS.len() * wrong.len(), bad.join("\n"));
}

/// Names that could be guessed: those of the process's number, which a shell knows beforehand.
#[test]
fn names_that_somebody_guessed_are_not_used() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("victim"), "precious").unwrap();
    let plant = "for name in out.$$.tmp .out.$$.part out.tmp .out.part .out.$$.tmp; do ln -s victim $name; done";
    let lines = [
        format!("{plant}; exec $gospy run --timeout 1s --dump out -- sh -c '{}'", idle()),
        format!("{plant}; exec $gospy capture --from $example -o out"),
        format!("{plant}; exec $gospy stack --from $example --pprof out"),
        format!("{plant}; exec $gospy check --from $example --max-goroutines 100 --junit out"),
    ];
    for line in &lines {
        let output = shell(line, directory.path());
        assert!(matches!(output.code(), 0 | TIMED_OUT), "{line}: {output:?}");
        let out = directory.path().join("out");
        assert!(std::fs::symlink_metadata(&out).unwrap().len() > 100, "{line}");
        assert_eq!(std::fs::read_to_string(directory.path().join("victim")).unwrap(), "precious", "{line}");
        for name in names(directory.path()).iter().filter(|name| *name != "victim") {
            std::fs::remove_file(directory.path().join(name)).unwrap();
        }
    }
}

#[test]
fn a_directory_that_may_not_be_written_to_is_named() {
    let directory = tempfile::Builder::new().permissions(PermissionsExt::from_mode(0o755)).tempdir_in("/tmp").unwrap();
    let as_nobody = if nix::unistd::geteuid().is_root() {
        need("setpriv", "util-linux");
        "setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all"
    } else {
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o555)).unwrap();
        ""
    };
    // The build may be in a directory that is its owner's alone.
    let outside = tempfile::Builder::new().permissions(PermissionsExt::from_mode(0o755)).tempdir_in("/tmp").unwrap();
    for (from, name) in [(env!("CARGO_BIN_EXE_gospy"), "gospy"), (example().as_str(), "capture")] {
        let to = outside.path().join(name);
        assert!(Command::new("install").args(["-m", "755", from]).arg(to).status().unwrap().success());
    }
    let outside = outside.path().display();
    let line = format!("exec {as_nobody} {outside}/gospy capture --from {outside}/capture -o $PWD/file");
    let output = shell(&line, directory.path());
    assert_eq!(output.code(), ERROR, "{output:?}");
    assert!(output.stderr.contains("/file cannot be written: Permission denied"), "{output:?}");
    assert!(names(directory.path()).is_empty());
}

#[test]
fn a_limit_leaves_what_was_there() {
    let directory = tempfile::tempdir().unwrap();
    let parked = format!("{}/fixtures/captures/parked.gospy", env!("CARGO_MANIFEST_DIR"));
    let old = "echo old > out";
    // 64 KiB; the capture has over a megabyte.
    let limited = format!("{old}; ulimit -f 64; exec $gospy capture --force --from {parked} -o out");
    let output = shell(&limited, directory.path());
    assert_eq!(output.code(), ERROR, "{output:?}");
    assert!(output.stderr.contains("out cannot be written: File too large"), "{output:?}");
    assert_eq!(
        (std::fs::read_to_string(directory.path().join("out")).unwrap().as_str(), names(directory.path())),
        ("old\n", vec!["out".to_owned()])
    );
    let limited = format!("ulimit -f 0; exec $gospy stack --from {parked} --json > all");
    let output = shell(&limited, directory.path());
    assert_eq!(output.code(), ERROR, "{output:?}");
    assert!(output.stderr.contains("File too large"), "{output:?}");
}

/// At any moment: what was there or the new one whole, and nothing else but what nobody mistakes for it.
#[test]
fn a_killed_gospy_leaves_nothing_half_written() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    let whole = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gospy"));
        command.args(["capture", "--from", &example(), "-o"]).arg(&out);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let started = std::time::Instant::now();
    assert!(whole().status().unwrap().success());
    let takes = started.elapsed();
    let (mut killed, mut left) = (0, 0);
    for round in 0..60_u32 {
        let mut child = whole().spawn().unwrap();
        std::thread::sleep(takes * (round * 7 % 60) / 58);
        let _ = child.kill();
        killed += u32::from(!child.wait().unwrap().success());
        let found = names(directory.path());
        assert!(
            found.iter().all(|name| name == "out" || (name.starts_with(".gospy-") && name.ends_with(".part"))),
            "{found:?}"
        );
        left += found.len() - 1;
        // Checksums are over all of it.
        gospy(&["summary", "--from", out.to_str().unwrap()]).ok();
        for part in found.iter().filter(|name| *name != "out") {
            std::fs::remove_file(directory.path().join(part)).unwrap();
        }
    }
    println!("{killed} killed, {left} files left");
    assert!(killed >= 10, "only {killed} were killed before they were done, in {takes:?}");
}

#[test]
fn manual_pages_are_for_everybody_and_written_over_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    std::fs::write(at("victim"), "precious").unwrap();
    symlink("victim", at("gospy-stack.1")).unwrap();
    let into = directory.path().to_str().unwrap();
    let output = gospy(&["man", into]);
    assert_eq!(output.code(), ERROR, "{output:?}");
    assert!(output.stderr.contains("gospy-stack.1 is a symbolic link"), "{output:?}");
    assert_eq!(std::fs::read_to_string(at("victim")).unwrap(), "precious");
    std::fs::remove_file(at("gospy-stack.1")).unwrap();
    for _ in 0..2 {
        gospy(&["man", into]).ok();
    }
    let pages: Vec<_> = names(directory.path()).into_iter().filter(|name| name.ends_with(".1")).collect();
    assert!(pages.len() > 10 && pages.contains(&"gospy.1".to_owned()), "{pages:?}");
    for page in &pages {
        assert_eq!(mode(&at(page)) & 0o700, 0o600, "{page}");
        assert!(std::fs::read_to_string(at(page)).unwrap().contains(".TH"), "{page}");
    }
    assert_eq!(names(directory.path()).len(), pages.len() + 1);
}

#[test]
fn a_dash_is_a_stream_or_a_usage_error_and_never_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let run = |line: &str| shell(line, directory.path());
    run("$gospy capture --from $example -o - > copy && cmp <($gospy capture --from - -o - < copy) copy").ok();
    run("$gospy capture --from copy --uncompressed -o - | $gospy stack --from - | grep -q main.receive").ok();
    for line in [
        "$gospy capture --from $example -o - --json",
        "$gospy capture --pid 1 -o - --repeat 2 --interval 1s",
        "$gospy check --from $example --max-goroutines 9 --junit -",
        "$gospy run --timeout 9s --dump - -- true",
        "$gospy run --capture-every 9s --output - -- true",
        "$gospy man -",
    ] {
        let output = run(line);
        assert_eq!((output.code(), output.stdout.as_str()), (USAGE, ""), "{line}: {output:?}");
    }
    assert_eq!(names(directory.path()), ["copy"]);
}

#[test]
fn stacks_are_not_lost_when_their_file_cannot_be_written() {
    let directory = tempfile::tempdir().unwrap();
    // The directory goes while the command runs.
    let line = format!("mkdir d; $gospy run --timeout 1s --dump d/out -- sh -c 'rmdir d; {}'", idle());
    let output = shell(&line, directory.path());
    assert_eq!(output.code(), TIMED_OUT, "{output:?}");
    assert!(output.stderr.contains("d/out cannot be written") && output.stderr.contains("main.main"), "{output:?}");
}

/// `<(…)`, FIFOs and standard input.
#[test]
fn streams_are_read_as_files_are() {
    let directory = tempfile::tempdir().unwrap();
    let run = |line: &str| shell(line, directory.path());
    run("$gospy stack --from $example --json > json && cp $example capture").ok();
    let direct = run("$gospy diff json capture").ok();
    for (a, b) in [
        ("<(cat json)", "<(cat capture)"),
        ("capture", "<(cat capture)"),
        ("- < json", "capture"),
        ("<(sleep 2; cat json)", "- < capture"),
    ] {
        let output = run(&format!("$gospy diff {a} {b}"));
        assert_eq!(output.code(), 0, "{a} {b}: {output:?}");
        assert_eq!(output.stdout.lines().count(), direct.lines().count(), "{a} {b}: {output:?}");
        assert_eq!(
            output.stderr.contains("waiting for data from /dev/fd/"),
            a.contains("sleep"),
            "{a} {b}: {output:?}"
        );
    }
    for from in ["<(cat capture)", "<(cat json)", "- < json", "- < capture"] {
        assert!(run(&format!("$gospy stack --from {from}")).ok().contains("main.receive"), "{from}");
        run(&format!("$gospy check --max-goroutines 100 --from {from}")).ok();
    }
    for (bad, why) in [("/", "is a directory"), ("/dev/zero", "is a device"), ("- < /dev/null", "is a device")] {
        for command in ["stack --from", "capture -o x --from", "check --max-goroutines 1 --from", "diff json"] {
            let output = run(&format!("$gospy {command} {bad}"));
            assert_eq!(output.code(), ERROR, "{command} {bad}: {output:?}");
            assert!(output.stderr.contains(why), "{command} {bad}: {output:?}");
        }
    }
}

#[test]
fn a_fifo_that_nobody_writes_to_is_waited_for_and_named() {
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    for arguments in [vec!["stack", "--from"], vec!["diff", &example()]] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_gospy"))
            .args(&arguments)
            .arg(&fifo)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, format!("gospy: waiting for data from {}\n", fifo.display()));
        assert!(child.try_wait().unwrap().is_none(), "it did not wait");
        let mut writer = std::fs::OpenOptions::new().write(true).open(&fifo).unwrap();
        let bytes = std::fs::read(example()).unwrap();
        let (first, rest) = bytes.split_at(5);
        writer.write_all(first).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        writer.write_all(rest).unwrap();
        drop(writer);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success() && !output.stdout.is_empty(), "{arguments:?}: {output:?}");
    }
    // A binary is read here and there, which a stream cannot be.
    let program = live(&["idle"]);
    for target in [["--pid", &program.pid().to_string()], ["--from", &example()]] {
        let output = gospy(&[&["stack", "--bin", fifo.to_str().unwrap()], &target[..]].concat());
        assert_eq!(output.code(), ERROR, "{output:?}");
        let message = format!("{}: it is not a regular file", fifo.display());
        assert!(output.stderr.contains(&message), "{output:?}");
    }
}

/// What a snapshot in JSON holds can be shown like a capture.
#[test]
fn json_is_shown_as_what_it_was_made_of() {
    let directory = tempfile::tempdir().unwrap();
    let program = live(&["states", "1"]);
    let capture = directory.path().join("capture").display().to_string();
    gospy(&["capture", "--pid", &program.pid().to_string(), "-o", &capture]).ok();
    json_is_shown_as_its_captures(&[&capture, &example()]);
}
