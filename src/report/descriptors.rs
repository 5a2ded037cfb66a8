//! Descriptors, sockets and system calls in words.
//!
//! Names that the target chose are cleaned here. Nothing is decided: what is unknown is left out or said to be.

use std::fmt::Write as _;

use super::clean::clean;
use crate::addr::Arch;
use crate::model::{Activity, Descriptor, Descriptors, ForeignFrame, Outside, SymbolPool, SystemCall};
use crate::process::descriptor::{FileKind, OpenFile, Protocol, Socket, SocketName, SocketState};
use crate::process::syscall_names::{AT_FDCWD, Parameter, signature};

/// Where a memfd has its name.
const MEMFD: &str = "/memfd:";

/// What a descriptor refers to: `TCP 10.0.0.3:41234 → 10.0.0.7:5432 ESTABLISHED`, `pipe`, `/var/log/a.log`.
#[must_use]
pub fn descriptor(descriptor: &Descriptor) -> String {
    match descriptor {
        Descriptor::Closed => "closed".to_owned(),
        Descriptor::File(file) => open_file(file),
        Descriptor::Pipe(_) => "pipe".to_owned(),
        Descriptor::Socket(found) => socket(found),
        Descriptor::Eventfd { .. } => "eventfd".to_owned(),
        Descriptor::Epoll => "epoll".to_owned(),
        Descriptor::Timerfd { .. } => "timerfd".to_owned(),
        Descriptor::Inotify => "inotify".to_owned(),
        Descriptor::Signalfd => "signalfd".to_owned(),
        Descriptor::Pidfd { pid: Some(pid) } => format!("pidfd of process {pid}"),
        Descriptor::Pidfd { pid: None } => "pidfd of a process that has ended".to_owned(),
        Descriptor::IoUring => "io_uring".to_owned(),
        Descriptor::Other { name } => clean(name).into_owned(),
        Descriptor::Unknown { .. } => "unknown".to_owned(),
    }
}

fn open_file(file: &OpenFile) -> String {
    if let Some(name) = file.path.strip_prefix(MEMFD) {
        return format!("memfd {}", clean(name));
    }
    let mut text = clean(&file.path).into_owned();
    if file.deleted {
        text.push_str(" (deleted)");
    }
    if file.kind == Some(FileKind::Fifo) {
        text.insert_str(0, "pipe ");
    }
    text
}

/// A socket: its protocol, its addresses, and its state where that says something.
#[must_use]
pub fn socket(socket: &Socket) -> String {
    let mut text = match &socket.protocol {
        Some(Protocol::Raw(protocol)) => format!("raw IP protocol {protocol}"),
        Some(Protocol::Packet) => "packet socket".to_owned(),
        Some(Protocol::Netlink(family)) => format!("netlink {}", netlink_family(*family)),
        Some(Protocol::Other(name)) => format!("{} socket", clean(name)),
        Some(other) => other.name().to_owned(),
        None => "socket".to_owned(),
    };
    let is_unix = matches!(socket.protocol, Some(Protocol::Unix(_)));
    let (local, remote) = (socket.local.as_ref().map(socket_name), socket.remote.as_ref().map(socket_name));
    // Writing to a String cannot fail.
    let _ = match (&local, &remote) {
        (Some(local), Some(remote)) => write!(text, " {local} → {remote}"),
        (Some(local), None) => write!(text, " {local}"),
        (None, Some(remote)) => write!(text, " → {remote}"),
        (None, None) if is_unix => write!(text, " socket"),
        (None, None) if socket.protocol == Some(Protocol::Tcp) => write!(text, " socket"),
        (None, None) => Ok(()),
    };
    // Of others, whether they are connected is plain from their addresses.
    let tells = |state: &SocketState| socket.protocol == Some(Protocol::Tcp) || *state == SocketState::Listen;
    if let Some(state) = socket.state.filter(tells) {
        let _ = write!(text, " {}", state.name());
    }
    text
}

fn socket_name(name: &SocketName) -> String {
    match name {
        SocketName::Ip(address) => address.to_string(),
        SocketName::Unix(path) => clean(path).into_owned(),
    }
}

/// `NETLINK_…` of linux/netlink.h.
fn netlink_family(family: u32) -> String {
    let name = match family {
        0 => "ROUTE",
        2 => "USERSOCK",
        4 => "SOCK_DIAG",
        6 => "XFRM",
        7 => "SELINUX",
        9 => "AUDIT",
        10 => "FIB_LOOKUP",
        11 => "CONNECTOR",
        12 => "NETFILTER",
        15 => "KOBJECT_UEVENT",
        16 => "GENERIC",
        20 => "RDMA",
        21 => "CRYPTO",
        _ => return format!("family {family}"),
    };
    name.to_owned()
}

/// A system call with its arguments, as `read(7 → pipe, 0xc000012000, 4096)`; descriptors are those of `known`.
#[must_use]
pub fn system_call(call: SystemCall, arch: Arch, known: &Descriptors) -> String {
    with_polled(call, arch, &[], known)
}

/// The same, with the descriptors that it polls in place of the array of them.
fn with_polled(call: SystemCall, arch: Arch, polled: &[i32], known: &Descriptors) -> String {
    let Some(signature) = signature(arch, call.number) else { return format!("system call {}", call.number) };
    let mut text = format!("{}(", signature.name);
    for (index, (parameter, value)) in signature.parameters.iter().zip(call.arguments).enumerate() {
        if index > 0 {
            text.push_str(", ");
        }
        if index == 0 && !polled.is_empty() {
            let each: Vec<String> = polled.iter().map(|fd| one_descriptor(*fd, known)).collect();
            let _ = write!(text, "[{}]", each.join(", "));
        } else {
            text.push_str(&argument(*parameter, value, known));
        }
    }
    text.push(')');
    text
}

/// A number, and what it refers to if that is known: `7 → pipe`.
fn one_descriptor(fd: i32, known: &Descriptors) -> String {
    match known.get(fd) {
        Some(found) => format!("{fd} → {}", descriptor(found)),
        None => fd.to_string(),
    }
}

fn argument(parameter: Parameter, value: u64, known: &Descriptors) -> String {
    // The kernel takes the lower half of an `int`.
    let int = value as i32;
    match parameter {
        Parameter::Directory if int == AT_FDCWD => "AT_FDCWD".to_owned(),
        Parameter::Descriptor | Parameter::Directory if int >= 0 => one_descriptor(int, known),
        Parameter::Descriptor | Parameter::Directory | Parameter::Int | Parameter::Pid | Parameter::Signal => {
            int.to_string()
        }
        Parameter::Address if value == 0 => "NULL".to_owned(),
        Parameter::Address => format!("{value:#x}"),
        Parameter::Unsigned => value.to_string(),
        Parameter::Long => value.cast_signed().to_string(),
        Parameter::Flags if value == 0 => "0".to_owned(),
        Parameter::Flags => format!("{value:#x}"),
        Parameter::Mode => format!("{int:#o}"),
        Parameter::FutexOperation => futex_operation(int),
        Parameter::EpollOperation => named(int, &["", "EPOLL_CTL_ADD", "EPOLL_CTL_DEL", "EPOLL_CTL_MOD"]),
        Parameter::FlockOperation => flock_operation(int),
        Parameter::FcntlCommand => fcntl_command(int),
    }
}

fn named(value: i32, names: &[&str]) -> String {
    let name = usize::try_from(value).ok().and_then(|value| names.get(value)).filter(|name| !name.is_empty());
    name.map_or_else(|| value.to_string(), |name| (*name).to_owned())
}

/// `FUTEX_…` of linux/futex.h.
fn futex_operation(value: i32) -> String {
    const PRIVATE: i32 = 128;
    const CLOCK_REALTIME: i32 = 256;
    const NAMES: [&str; 14] = [
        "FUTEX_WAIT",
        "FUTEX_WAKE",
        "FUTEX_FD",
        "FUTEX_REQUEUE",
        "FUTEX_CMP_REQUEUE",
        "FUTEX_WAKE_OP",
        "FUTEX_LOCK_PI",
        "FUTEX_UNLOCK_PI",
        "FUTEX_TRYLOCK_PI",
        "FUTEX_WAIT_BITSET",
        "FUTEX_WAKE_BITSET",
        "FUTEX_WAIT_REQUEUE_PI",
        "FUTEX_CMP_REQUEUE_PI",
        "FUTEX_LOCK_PI2",
    ];
    let mut text = named(value & !(PRIVATE | CLOCK_REALTIME), &NAMES);
    if value & PRIVATE != 0 {
        text.push_str("_PRIVATE");
    }
    text
}

/// `LOCK_…` of sys/file.h.
fn flock_operation(value: i32) -> String {
    const NONBLOCKING: i32 = 4;
    let name = match value & !NONBLOCKING {
        1 => "LOCK_SH",
        2 => "LOCK_EX",
        8 => "LOCK_UN",
        _ => return value.to_string(),
    };
    if value & NONBLOCKING == 0 { name.to_owned() } else { format!("{name}|LOCK_NB") }
}

/// The commands of fcntl.h that lock, and the usual ones besides.
fn fcntl_command(value: i32) -> String {
    const NAMES: [&str; 8] = ["F_DUPFD", "F_GETFD", "F_SETFD", "F_GETFL", "F_SETFL", "F_GETLK", "F_SETLK", "F_SETLKW"];
    match value {
        36 => "F_OFD_GETLK".to_owned(),
        37 => "F_OFD_SETLK".to_owned(),
        38 => "F_OFD_SETLKW".to_owned(),
        1030 => "F_DUPFD_CLOEXEC".to_owned(),
        value => named(value, &NAMES),
    }
}

/// What a goroutine in a system call or in C does: `read(7 → pipe, 0xc000012000, 4096)`, or
/// `poll (libc.so.6): poll([9 → TCP …], 1, -1)`.
#[must_use]
pub fn outside(outside: &Outside, arch: Arch, known: &Descriptors, pool: &SymbolPool) -> String {
    let activity = match outside.activity {
        Activity::In(call) => with_polled(call, arch, &outside.polled, known),
        Activity::Blocked => "blocked in the kernel".to_owned(),
        Activity::Running => "running".to_owned(),
        Activity::Moved => "moved while it was read".to_owned(),
        Activity::Unknown => "unknown".to_owned(),
    };
    match &outside.c_function {
        Some(function) => format!("{}: {activity}", c_function(function, pool)),
        None if outside.in_c => format!("C: {activity}"),
        None => activity,
    }
}

/// A function in C and its file: `poll (libc.so.6)`, or `libc.so.6+0x1234` without a name.
#[must_use]
pub fn c_function(frame: &ForeignFrame, pool: &SymbolPool) -> String {
    let path = pool.str(frame.object);
    let file = clean(path.rsplit('/').next().unwrap_or(path));
    match frame.function {
        Some(name) => format!("{} ({file})", clean(pool.str(name))),
        None => format!("{file}+{:#x}", frame.offset),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Addr;
    use crate::process::descriptor::{Pipe, UnixKind};

    fn tcp(local: &str, remote: Option<&str>, state: SocketState) -> Socket {
        let name = |text: &str| Some(SocketName::Ip(text.parse().unwrap()));
        Socket {
            protocol: Some(Protocol::Tcp),
            local: name(local),
            remote: remote.and_then(name),
            state: Some(state),
            ..Socket::unknown(1)
        }
    }

    fn file(path: &str, deleted: bool, kind: FileKind) -> Descriptor {
        Descriptor::File(OpenFile { path: path.to_owned(), deleted, kind: Some(kind) })
    }

    #[test]
    fn sockets_in_words() {
        let connected = tcp("10.0.0.3:41234", Some("10.0.0.7:5432"), SocketState::Established);
        assert_eq!(socket(&connected), "TCP 10.0.0.3:41234 → 10.0.0.7:5432 ESTABLISHED");
        assert_eq!(socket(&tcp("[::]:8080", None, SocketState::Listen)), "TCP [::]:8080 LISTEN");
        let udp = Socket { protocol: Some(Protocol::Udp), ..connected };
        assert_eq!(socket(&udp), "UDP 10.0.0.3:41234 → 10.0.0.7:5432");
        let unix = |local: Option<&str>, remote: Option<&str>, state| Socket {
            protocol: Some(Protocol::Unix(UnixKind::Stream)),
            local: local.map(|name| SocketName::Unix(name.to_owned())),
            remote: remote.map(|name| SocketName::Unix(name.to_owned())),
            state,
            ..Socket::unknown(1)
        };
        let established = Some(SocketState::Established);
        assert_eq!(socket(&unix(Some("/run/x.sock"), None, established)), "unix /run/x.sock");
        assert_eq!(socket(&unix(Some("@a\n\u{1b}"), None, Some(SocketState::Listen))), "unix @a\\n\\x1b LISTEN");
        assert_eq!(socket(&unix(None, Some("/run/x.sock"), established)), "unix → /run/x.sock");
        assert_eq!(socket(&unix(None, None, established)), "unix socket");
        let of = |protocol| socket(&Socket { protocol, ..Socket::unknown(1) });
        assert_eq!(of(Some(Protocol::Netlink(0))), "netlink ROUTE");
        assert_eq!(of(Some(Protocol::Netlink(99))), "netlink family 99");
        assert_eq!(of(Some(Protocol::Tcp)), "TCP socket");
        assert_eq!(of(Some(Protocol::Raw(89))), "raw IP protocol 89");
        assert_eq!(of(Some(Protocol::Other("VSOCK".into()))), "VSOCK socket");
        assert_eq!(of(None), "socket");
    }

    #[test]
    fn other_descriptors_in_words() {
        for (found, words) in [
            (file("/a/b\u{202e}c", false, FileKind::Regular), "/a/b\\u{202e}c"),
            (file("/a", true, FileKind::Regular), "/a (deleted)"),
            (file("/memfd:x", true, FileKind::Regular), "memfd x"),
            (file("/run/fifo", false, FileKind::Fifo), "pipe /run/fifo"),
            (Descriptor::Pipe(Pipe { inode: 1, end: None }), "pipe"),
            (Descriptor::Pidfd { pid: Some(5) }, "pidfd of process 5"),
            (Descriptor::Other { name: "anon_inode:[\u{7}]".into() }, "anon_inode:[\\x07]"),
            (Descriptor::Closed, "closed"),
            (Descriptor::Unknown { reason: "x".into() }, "unknown"),
        ] {
            assert_eq!(descriptor(&found), words);
        }
    }

    #[test]
    fn system_calls_in_words() {
        let known: Descriptors = [
            (7, Descriptor::Socket(tcp("10.0.0.3:41234", Some("10.0.0.7:5432"), SocketState::CloseWait))),
            (8, Descriptor::Closed),
        ]
        .into_iter()
        .collect();
        let call = |number, arguments| system_call(SystemCall { number, arguments }, Arch::Amd64, &known);
        assert_eq!(
            call(0, [7, 0x00c0_0001_2000, 4096, 0, 0, 0]),
            "read(7 → TCP 10.0.0.3:41234 → 10.0.0.7:5432 CLOSE_WAIT, 0xc000012000, 4096)"
        );
        assert_eq!(call(0, [9, 0, 1, 5, 5, 5]), "read(9, NULL, 1)");
        assert_eq!(call(202, [0xc0, 128, 0, 0, 0, 0]), "futex(0xc0, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0)");
        assert_eq!(call(281, [8, 1, 128, u64::MAX, 0, 0]), "epoll_pwait(8 → closed, 0x1, 128, -1, NULL, 0)");
        assert_eq!(call(73, [9, 2, 0, 0, 0, 0]), "flock(9, LOCK_EX)");
        assert_eq!(call(72, [9, 7, 1, 0, 0, 0]), "fcntl(9, F_SETLKW, 0x1)");
        let cwd = AT_FDCWD as u64;
        assert_eq!(call(257, [cwd, 1, 0, 0o644, 0, 0]), "openat(AT_FDCWD, 0x1, 0, 0o644)");
        assert_eq!(call(34, [0; 6]), "pause()");
        assert_eq!(call(9_999, [0; 6]), "system call 9999");
    }

    #[test]
    fn goroutines_outside_of_go_in_words() {
        let mut pool = SymbolPool::default();
        let mut frame = ForeignFrame {
            function: Some(pool.intern_str("__poll")),
            object: pool.intern_str("/lib/libc.so.6"),
            pc: Addr(1),
            offset: 0x4f,
        };
        let mut found = Outside {
            goroutine: Addr(1),
            in_c: true,
            activity: Activity::In(SystemCall { number: 7, arguments: [0x7ffe, 2, u64::MAX, 0, 0, 0] }),
            c_function: Some(frame),
            polled: vec![9, 4],
        };
        let known: Descriptors = [(9, Descriptor::Epoll)].into_iter().collect();
        let words = |found: &Outside| outside(found, Arch::Amd64, &known, &pool);
        assert_eq!(words(&found), "__poll (libc.so.6): poll([9 → epoll, 4], 2, -1)");
        frame.function = None;
        (found.c_function, found.polled) = (Some(frame), Vec::new());
        assert_eq!(words(&found), "libc.so.6+0x4f: poll(0x7ffe, 2, -1)");
        (found.c_function, found.activity) = (None, Activity::Running);
        assert_eq!(words(&found), "C: running");
        (found.in_c, found.activity) = (false, Activity::Moved);
        assert_eq!(words(&found), "moved while it was read");
    }
}
