//! Strange places: processes that `/proc` hides, a `/proc` that is not there or another one, files that
//! may not be read, user namespaces. Each in a real namespace, with its exit status and its remedy, and
//! `doctor` has to say the same.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::{Fixture, Mode, Output, Running, gospy_with, need, need_root};

const ERROR: i32 = 1;
const GONE: i32 = 3;
const PERMISSION: i32 = 4;

const NOBODY: &str = "setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all";

/// A copy of gospy that everybody can run: the build may be in a directory that is its owner's alone.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let directory =
            tempfile::Builder::new().permissions(PermissionsExt::from_mode(0o755)).tempdir_in("/tmp").unwrap();
        let place = Place { directory };
        place.install("gospy", Path::new(env!("CARGO_BIN_EXE_gospy")), "755");
        place
    }

    /// By another process, so that no descriptor to write to it is open in a fork when it is started.
    fn install(&self, name: &str, from: &Path, mode: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        assert!(Command::new("install").args(["-m", mode]).arg(from).arg(&path).status().unwrap().success());
        path
    }

    /// Runs a line of a shell in a mount namespace of its own, with `$gospy` in it.
    fn run(&self, line: &str) -> Output {
        let (unshare, _) = (need("unshare", "util-linux"), need("setpriv", "util-linux"));
        gospy_with(&[], |command| {
            *command = Command::new(unshare);
            command.args(["--mount", "sh", "-c", line]).env("gospy", self.directory.path().join("gospy"));
            command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        })
    }

    /// Runs `gospy` after `before`, once to read a process and once to explain it, and gives what both say.
    fn both(&self, before: &str, pid: i32, status: i32) -> [String; 2] {
        let summary = self.run(&format!("{before} $gospy summary --pid {pid}"));
        assert_eq!((summary.code(), summary.stdout.as_str()), (status, ""), "{summary:?}");
        assert!(summary.stderr.starts_with("gospy: ") && summary.stderr.lines().count() <= 4, "{summary:?}");
        let doctor = self.run(&format!("{before} $gospy doctor --pid {pid}"));
        assert_eq!(doctor.code(), status, "{doctor:?}");
        [summary.stderr, doctor.stdout + &doctor.stderr]
    }
}

/// Whether the remedy is to become root: by sudo, or in a container, which this machine may be, by entering
/// it so.
fn names_root(text: &str) -> bool {
    text.contains("Run: sudo gospy") || text.contains("Run gospy as root inside the container")
}

fn idle() -> Running {
    Fixture::start("fx", "1.26.6", Mode::Sw, &["idle"])
}

#[test]
fn a_hidden_process_is_one_that_may_not_be_read() {
    need_root();
    let (place, program) = (Place::new(), idle());
    for hidepid in [1, 2, 4] {
        let hide = format!("mount -t proc -o hidepid={hidepid} proc /proc && exec {NOBODY}");
        for text in place.both(&hide, program.pid(), PERMISSION) {
            assert!(text.contains("hidepid") && names_root(&text), "hidepid={hidepid}: {text}");
            assert!(text.contains("uid 65534"), "hidepid={hidepid}: {text}");
        }
        // One that is not there is not there, whatever is hidden.
        let absent = format!("{hide} $gospy summary --pid 4194304");
        assert_eq!(place.run(&absent).code(), GONE);
        // Root is not hidden from.
        let seen = place.run(&format!(
            "mount -t proc -o hidepid={hidepid} proc /proc && exec $gospy summary --pid {}",
            program.pid()
        ));
        assert!(seen.ok().contains("fx"), "hidepid={hidepid}");
    }
}

#[test]
fn without_proc_there_is_nothing_to_be_learnt() {
    need_root();
    let (place, program) = (Place::new(), idle());
    let without = "mount -t tmpfs none /proc && exec";
    for text in place.both(without, program.pid(), ERROR) {
        assert!(text.contains("/proc is not mounted") && text.contains("mount -t proc"), "{text}");
        assert!(!text.contains("hidepid") && !text.contains("sudo"), "{text}");
    }
    for command in ["ps", "doctor"] {
        let output = place.run(&format!("{without} $gospy {command}"));
        assert_eq!(output.code(), ERROR, "{output:?}");
        assert!(output.stderr.contains("mount"), "{output:?}");
    }
    // The numbers in it are those of other processes here.
    for text in place.both("exec unshare --pid --fork", program.pid(), ERROR) {
        assert!(text.contains("another pid namespace") && text.contains("mount -t proc"), "{text}");
    }
}

/// With CAP_SYS_PTRACE alone, as `setcap` gives it: memory may be read, and files may not.
#[test]
fn a_file_that_may_not_be_read_is_named() {
    need_root();
    let place = Place::new();
    let path = place.install("fx", &Fixture::build("fx", "1.26.6", Mode::Sw), "711");
    let mut command = Command::new(&path);
    command.arg("idle");
    let mut program = Running::spawn(command);
    program.wait_ready();
    let ptrace_only = "exec setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all,+sys_ptrace \
                       --ambient-caps=-all,+sys_ptrace";
    for text in place.both(ptrace_only, program.pid(), PERMISSION) {
        assert!(text.contains(path.to_str().unwrap()) && text.contains("mode 0711, uid 0"), "{text}");
        assert!(text.contains("without CAP_DAC_READ_SEARCH") && names_root(&text), "{text}");
    }
    let doctor = place.run(&format!("{ptrace_only} $gospy doctor --json --pid {}", program.pid()));
    let json: serde_json::Value = serde_json::from_str(&doctor.stdout).unwrap();
    let checks = json["access"].as_array().unwrap();
    let passed = |name: &str| checks.iter().find(|check| check["name"] == name).unwrap()["passed"].clone();
    assert_eq!((passed("process_vm_readv"), passed("/proc/PID/exe")), (true.into(), false.into()), "{json}");
    assert!(json["refusal"]["remedy"].is_string(), "{json}");
    // With the right to read files too, it is read.
    let both = ptrace_only.replace("+sys_ptrace", "+sys_ptrace,+dac_read_search");
    assert!(place.run(&format!("{both} $gospy summary --pid {}", program.pid())).ok().contains("fx"));
}

#[test]
fn a_user_namespace_without_users_is_left_rather_than_made_mighty() {
    need_root();
    let (place, program) = (Place::new(), idle());
    // Of the same user as gospy outside, and of another one.
    for before in ["exec unshare --user", "exec setpriv --reuid 65534 --regid 65534 --clear-groups unshare --user"] {
        for text in place.both(before, program.pid(), PERMISSION) {
            assert!(text.contains("another user namespace"), "{before}: {text}");
            assert!(text.contains("outside of its user namespace") && !text.contains("sudo"), "{before}: {text}");
        }
    }
    // With a map there is a root in it, whose rights end there.
    for text in place.both("exec unshare --user --map-root-user", program.pid(), PERMISSION) {
        assert!(text.contains("another user namespace") && text.contains("on the host as root"), "{text}");
    }
}

/// What `doctor` says of a server, for users who may do less than root.
#[test]
fn doctor_knows_what_a_server_could_read() {
    need_root();
    let place = Place::new();
    let says = |before: &str| place.run(&format!("{before} $gospy doctor")).ok();
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    let root = says("exec");
    assert!(root.contains("of all users") && root.contains("shows the processes of all users"), "{root}");
    let nobody = says(&format!("mount -t proc -o hidepid=2 proc /proc && exec {NOBODY} env -u XDG_RUNTIME_DIR"));
    let programs = match scope.trim() {
        "" | "0" => "of uid 65534, since it has no CAP_SYS_PTRACE".to_owned(),
        "3" => "none: kernel.yama.ptrace_scope is 3".to_owned(),
        scope => format!("none: kernel.yama.ptrace_scope is {scope}"),
    };
    let flat = nobody.split_whitespace().collect::<Vec<_>>().join(" ");
    for text in [&programs, "uid 65534 and root", "XDG_RUNTIME_DIR is not set", "capabilities kept none"] {
        assert!(flat.contains(text), "{text}: {nobody}");
    }
    assert!(nobody.contains("hidepid=2") || nobody.contains("hidepid=invisible"), "{nobody}");
    let own = says(&format!("exec {NOBODY} env XDG_RUNTIME_DIR=/run/user/65534"));
    assert!(own.contains("unix:/run/user/65534/gospy.sock, mode 0600"), "{own}");
}
