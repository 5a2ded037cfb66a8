use super::*;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn put(goal: &Goal, text: &str) -> Result<u64, NewFileError> {
    goal.write(|out| out.write_all(text.as_bytes()))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn a_file_is_whole_and_private() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new");
    let goal = Goal::new(&path, Replace::Nothing).unwrap();
    let long = "x".repeat(3 << 20);
    let seen = |out: &mut dyn Write| {
        out.write_all(long.as_bytes())?;
        assert!(!path.exists(), "it is there before it is whole");
        Ok(())
    };
    assert_eq!(goal.write(seen).unwrap(), 3 << 20);
    assert_eq!((fs::read_to_string(&path).unwrap(), mode(&path)), (long, 0o600));
    assert!(matches!(put(&goal, "y"), Err(NewFileError::Exists { .. })));
    let public = Goal::new(&dir.path().join("public"), Replace::Own).unwrap().with_mode(PUBLIC);
    put(&public, "1").unwrap();
    put(&public, "22").unwrap();
    assert_eq!((fs::read_to_string(public.path()).unwrap(), mode(public.path()) & 0o700), ("22".into(), 0o600));
    assert_eq!(names(dir.path()), ["new", "public"]);
}

/// What came to be there after it was asked for, too.
#[test]
fn what_is_no_regular_file_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("victim"), "precious").unwrap();
    fs::create_dir(at("directory")).unwrap();
    symlink("victim", at("link")).unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    symlink("directory", at("link to a directory")).unwrap();
    nix::unistd::mkfifo(&at("fifo"), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    let before = names(dir.path());
    let bad = [
        (at("link"), "a symbolic link"),
        (at("dangling"), "a symbolic link"),
        (at("link to a directory"), "a symbolic link"),
        (at("directory"), "a directory"),
        (at("fifo"), "a FIFO"),
        (at("socket"), "a socket"),
        (PathBuf::from("/dev/null"), "a device"),
    ];
    for replace in [Replace::Nothing, Replace::Own, Replace::If(|_| true), Replace::Any] {
        for (path, what) in &bad {
            let error = Goal::new(path, replace).unwrap_err();
            assert!(matches!(&error, NewFileError::NotRegular { what: found, .. } if found == what), "{error}");
            let goal = Goal::new(&at("later"), replace).unwrap();
            let planted = |out: &mut dyn Write| {
                symlink("victim", at("later"))?;
                out.write_all(b"bad")
            };
            goal.write(planted).unwrap_err();
            fs::remove_file(at("later")).unwrap();
        }
    }
    for path in ["/", "..", "x/..", "", "x/", "x/."] {
        let error = Goal::new(Path::new(path), Replace::Any).unwrap_err();
        assert!(matches!(error, NewFileError::NoName { .. }), "{path:?}: {error}");
    }
    assert_eq!((fs::read_to_string(at("victim")).unwrap(), names(dir.path())), ("precious".into(), before));
}

#[test]
fn what_may_be_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, "old").unwrap();
    let is_old = |file: File| io::read_to_string(file).is_ok_and(|text| text == "old");
    assert!(matches!(Goal::new(&path, Replace::Nothing), Err(NewFileError::Exists { .. })));
    assert!(matches!(Goal::new(&path, Replace::If(|_| false)), Err(NewFileError::Exists { .. })));
    put(&Goal::new(&path, Replace::If(is_old)).unwrap(), "new").unwrap();
    assert!(matches!(Goal::new(&path, Replace::If(is_old)), Err(NewFileError::Exists { .. })));
    put(&Goal::new(&path, Replace::Own).unwrap(), "own").unwrap();
    // A file with two names is still there under the other one.
    let other = dir.path().join("other name");
    fs::hard_link(&path, &other).unwrap();
    put(&Goal::new(&path, Replace::Any).unwrap(), "any").unwrap();
    assert_eq!((fs::read_to_string(&path).unwrap(), fs::read_to_string(&other).unwrap()), ("any".into(), "own".into()));
    if geteuid().is_root() {
        std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
        assert!(matches!(Goal::new(&path, Replace::Own), Err(NewFileError::NotOurs { uid: 65534, .. })));
    } else {
        println!("only root can give a file away");
    }
}

/// A path that is changed while the file is written leads nowhere else.
#[test]
fn the_directory_is_the_one_that_was_opened() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for name in ["real", "evil"] {
        fs::create_dir(at(name)).unwrap();
    }
    let goal = Goal::new(&at("real/file"), Replace::Any).unwrap();
    let swapped = |out: &mut dyn Write| {
        fs::rename(at("real"), at("moved"))?;
        symlink("evil", at("real"))?;
        out.write_all(b"text")
    };
    goal.write(swapped).unwrap();
    assert_eq!((names(&at("moved")), names(&at("evil"))), (vec!["file".to_owned()], Vec::new()));
    let directory = Arc::new(Directory::make(&at("real/a/b")).unwrap());
    put(&Goal::inside(&directory, "file", Replace::Any).unwrap(), "text").unwrap();
    assert_eq!(fs::read_to_string(at("evil/a/b/file")).unwrap(), "text");
    for name in ["a/b", "..", ".", "", "/"] {
        assert!(Goal::inside(&directory, name, Replace::Any).is_err(), "{name:?}");
    }
}

#[test]
fn links_on_the_way_are_followed_as_the_kernel_would() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir_all(at("goal/inner")).unwrap();
    fs::create_dir(at("shared")).unwrap();
    symlink("../goal", at("shared/relative")).unwrap();
    symlink(at("goal"), at("shared/absolute")).unwrap();
    symlink("loop", at("loop")).unwrap();
    fs::set_permissions(at("shared"), fs::Permissions::from_mode(0o1777)).unwrap();
    for way in ["shared/relative", "shared/absolute", "shared/relative/inner/..", "goal/../shared/./relative"] {
        put(&Goal::new(&at(way).join("file"), Replace::Any).unwrap(), way).unwrap();
        assert_eq!(fs::read_to_string(at("goal/file")).unwrap(), way);
    }
    let held = File::open(at("goal")).unwrap();
    let magic = PathBuf::from(format!("/proc/self/fd/{}", held.as_raw_fd()));
    put(&Goal::new(&magic.join("file"), Replace::Any).unwrap(), "magic").unwrap();
    assert_eq!(fs::read_to_string(at("goal/file")).unwrap(), "magic");
    for (way, errno) in [("loop/x", Errno::ELOOP), ("goal/file/x", Errno::ENOTDIR), ("none/x", Errno::ENOENT)] {
        let error = Goal::new(&at(way), Replace::Any).unwrap_err();
        let NewFileError::Io { source, .. } = &error else { panic!("{way}: {error}") };
        assert_eq!(source.raw_os_error(), Some(errno as i32), "{way}");
    }
    if geteuid().is_root() {
        // Somebody else's link: that it may not be followed is for /tmp and the like, and no other place.
        let uid = nix::unistd::Uid::from_raw(65534);
        let give = |name: &str| {
            nix::unistd::fchownat(AT_FDCWD, &at(name), Some(uid), None, AtFlags::AT_SYMLINK_NOFOLLOW).unwrap();
        };
        give("shared/relative");
        let error = Goal::new(&at("shared/relative/file"), Replace::Any).unwrap_err();
        assert!(matches!(&error, NewFileError::Planted { uid: 65534, .. }), "{error}");
        assert!(matches!(Directory::make(&at("shared/relative/new")), Err(NewFileError::Planted { .. })));
        assert!(!at("goal/new").exists());
        fs::set_permissions(at("shared"), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(Goal::new(&at("shared/relative/file"), Replace::Any).is_ok());
    } else {
        println!("only root can make a link that is somebody else's");
    }
}

/// As on file systems that have no files without a name.
#[test]
fn a_file_with_a_random_name_takes_its_place_too() {
    let dir = tempfile::tempdir().unwrap();
    let directory = Directory::open(dir.path()).unwrap();
    let named = || {
        let mut file = Unfinished::named(&directory, PRIVATE).unwrap();
        file.file.write_all(b"new").unwrap();
        file
    };
    let first = named();
    let only = names(dir.path());
    let [name] = only.as_slice() else { panic!("{only:?}") };
    assert!(name.starts_with(".gospy-") && name.ends_with(".part"), "{name}");
    assert_eq!(mode(&dir.path().join(name)), 0o600);
    assert_ne!(named().name, first.name);
    drop(first);
    assert!(names(dir.path()).is_empty());
    named().take_free_name(OsStr::new("free")).unwrap();
    assert_eq!(named().take_free_name(OsStr::new("free")), Err(Errno::EEXIST));
    fs::write(dir.path().join("old"), "old").unwrap();
    named().take_name(OsStr::new("old")).unwrap();
    assert_eq!(names(dir.path()), ["free", "old"]);
    for name in ["free", "old"] {
        assert_eq!(fs::read_to_string(dir.path().join(name)).unwrap(), "new");
    }
    // A directory cannot be replaced by a file, and nothing is left of the file.
    fs::create_dir(dir.path().join("directory")).unwrap();
    named().take_name(OsStr::new("directory")).unwrap_err();
    assert_eq!(names(dir.path()), ["directory", "free", "old"]);
}

#[test]
fn nothing_is_left_after_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, "old").unwrap();
    let goal = Goal::new(&path, Replace::Any).unwrap();
    let fails = |out: &mut dyn Write| {
        out.write_all(&[7; 5 << 20])?;
        Err(io::Error::other("enough"))
    };
    let error = goal.write(fails).unwrap_err().to_string();
    assert!(error.contains("enough") && error.contains(path.to_str().unwrap()), "{error}");
    assert_eq!((names(dir.path()), fs::read_to_string(&path).unwrap()), (vec!["file".to_owned()], "old".into()));
}

/// Where there are no hard links, the name is taken before the file gets it.
#[test]
fn a_name_that_was_taken_is_free_after_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let directory = Directory::open(dir.path()).unwrap();
    let rename = || directory.rename_to_free(OsStr::new("part"), OsStr::new("file"));
    assert_eq!(rename(), Err(Errno::ENOENT));
    assert!(names(dir.path()).is_empty(), "{:?}", names(dir.path()));
    fs::write(dir.path().join("part"), "new").unwrap();
    rename().unwrap();
    assert_eq!(names(dir.path()), ["file"]);
    // What somebody else has put there is not touched.
    fs::write(dir.path().join("part"), "newer").unwrap();
    assert_eq!(rename(), Err(Errno::EEXIST));
    assert_eq!(fs::read_to_string(dir.path().join("file")).unwrap(), "new");
}

/// That no name for a temporary file is free says nothing of the file's own name.
#[test]
fn random_names_that_are_all_taken_are_no_file_that_exists() {
    let mut tried = Vec::new();
    let taken = |name: &OsStr| {
        tried.push(name.to_owned());
        Err::<(), _>(Errno::EEXIST)
    };
    let error = with_random_name(taken).unwrap_err();
    assert!(error.raw_os_error().is_none() && error.to_string().contains("are all taken"), "{error}");
    tried.sort();
    tried.dedup();
    assert_eq!(tried.len(), MAX_NAMES);
    assert_eq!(with_random_name(|_| Err::<(), _>(Errno::EROFS)).unwrap_err().raw_os_error(), Some(Errno::EROFS as i32));
}
