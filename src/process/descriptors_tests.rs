use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::stat::Mode;

use super::*;
use crate::addr::Arch;
use crate::process::Remembered;
use crate::process::descriptor::{SocketName, SocketState};
use crate::process::fake::FakeTarget;
use crate::process::live::LiveTarget;
use crate::process::recording::RecordingTarget;

fn read(dir: &ProcDir, fds: &BTreeSet<i32>) -> Descriptors {
    super::read(dir, fds, &LastSockets::default())
}

fn me() -> ProcDir {
    ProcDir::open(i32::try_from(std::process::id()).unwrap()).unwrap()
}

fn one(file: &impl AsRawFd) -> Descriptor {
    let fd = file.as_raw_fd();
    let found = read(&me(), &BTreeSet::from([fd]));
    assert_eq!((found.why_unknown(), found.iter().count()), (None, 1));
    found.get(fd).unwrap().clone()
}

fn socket(file: &impl AsRawFd) -> Socket {
    match one(file) {
        Descriptor::Socket(socket) => socket,
        other => panic!("{other:?}"),
    }
}

fn named(path: &Path, deleted: bool, kind: FileKind) -> Descriptor {
    Descriptor::File(OpenFile { path: path.to_str().unwrap().to_owned(), deleted, kind: Some(kind) })
}

#[test]
fn files_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a \u{1b}[2J (deleted)");
    let regular = File::create(&path).unwrap();
    // Such a name cannot be told from that of a deleted file.
    let cut = directory.path().join("a \u{1b}[2J");
    assert_eq!(one(&regular), named(&cut, true, FileKind::Regular));
    let path = directory.path().join("log");
    let regular = File::create(&path).unwrap();
    assert_eq!(one(&regular), named(&path, false, FileKind::Regular));
    std::fs::remove_file(&path).unwrap();
    assert_eq!(one(&regular), named(&path, true, FileKind::Regular));
    let open = File::open(directory.path()).unwrap();
    assert_eq!(one(&open), named(directory.path(), false, FileKind::Directory));
    let null = Path::new("/dev/null");
    assert_eq!(one(&File::open(null).unwrap()), named(null, false, FileKind::CharacterDevice));
    let fifo = directory.path().join("fifo");
    nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    let open = OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
    assert_eq!(one(&open), named(&fifo, false, FileKind::Fifo));
    let terminal = nix::pty::openpty(None, None).unwrap();
    let name = std::fs::read_link(format!("/proc/self/fd/{}", terminal.slave.as_raw_fd())).unwrap();
    assert_eq!(one(&terminal.slave), named(&name, false, FileKind::Terminal));
}

#[test]
fn pipes_have_ends() {
    let (reader, writer) = std::io::pipe().unwrap();
    let (Descriptor::Pipe(read), Descriptor::Pipe(write)) = (one(&reader), one(&writer)) else { panic!() };
    assert_eq!((read.end, write.end), (Some(PipeEnd::Read), Some(PipeEnd::Write)));
    assert_eq!(read.inode, write.inode);
    let link = std::fs::read_link(format!("/proc/self/fd/{}", reader.as_raw_fd())).unwrap();
    assert_eq!(link.to_str().unwrap(), format!("pipe:[{}]", read.inode));
}

#[test]
fn the_kernels_own_objects_are_known() {
    use nix::sys::{epoll, eventfd, inotify, memfd, signal, signalfd, timer, timerfd};
    let event = eventfd::EventFd::from_value(0x15).unwrap();
    assert_eq!(one(&event), Descriptor::Eventfd { count: Some(0x15) });
    let poll = epoll::Epoll::new(epoll::EpollCreateFlags::empty()).unwrap();
    assert_eq!(one(&poll.0), Descriptor::Epoll);
    let watch = inotify::Inotify::init(inotify::InitFlags::empty()).unwrap();
    let descriptor = std::os::fd::AsFd::as_fd(&watch);
    assert_eq!(one(&descriptor), Descriptor::Inotify);
    let signals = signalfd::SignalFd::new(&signal::SigSet::empty()).unwrap();
    assert_eq!(one(&signals), Descriptor::Signalfd);
    let alarm = timerfd::TimerFd::new(timerfd::ClockId::CLOCK_MONOTONIC, timerfd::TimerFlags::empty()).unwrap();
    let descriptor = std::os::fd::AsFd::as_fd(&alarm);
    assert_eq!(one(&descriptor), Descriptor::Timerfd { remaining_ns: Some(0) });
    let hour = timer::Expiration::OneShot(nix::sys::time::TimeSpec::new(3600, 0));
    alarm.set(hour, timer::TimerSetTimeFlags::empty()).unwrap();
    let Descriptor::Timerfd { remaining_ns: Some(left) } = one(&descriptor) else { panic!() };
    assert!((3_500_000_000_000..=3_600_000_000_000).contains(&left), "{left}");
    let memory = memfd::memfd_create("a b", memfd::MFdFlags::empty()).unwrap();
    assert_eq!(one(&memory), named(Path::new("/memfd:a b"), true, FileKind::Regular));
    let mut child = Command::new("sleep").arg("100").spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    let process = crate::process::syscalls::pidfd_open(pid).unwrap();
    assert_eq!(one(&process), Descriptor::Pidfd { pid: Some(pid) });
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(one(&process), Descriptor::Pidfd { pid: None });
}

fn ip(address: std::io::Result<std::net::SocketAddr>) -> Option<SocketName> {
    Some(SocketName::Ip(address.unwrap()))
}

#[test]
fn tcp_sockets_have_their_addresses_states_and_queues() {
    for loopback in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
        let listener = TcpListener::bind(loopback).unwrap();
        let port = listener.local_addr().unwrap().port();
        let to =
            if loopback == "[::]:0" { format!("127.0.0.1:{port}") } else { listener.local_addr().unwrap().to_string() };
        let mut client = TcpStream::connect(&to).unwrap();
        let listening = socket(&listener);
        assert_eq!((listening.protocol, listening.state), (Some(Protocol::Tcp), Some(SocketState::Listen)));
        assert_eq!((listening.local, listening.remote), (ip(listener.local_addr()), None));
        assert_eq!((listening.accept_queue, listening.receive_queue), (Some(1), None));
        let (server, _) = listener.accept().unwrap();
        assert_eq!(socket(&listener).accept_queue, Some(0));
        let (near, far) = (socket(&client), socket(&server));
        assert_eq!((near.state, far.state), (Some(SocketState::Established), Some(SocketState::Established)));
        assert_eq!((&near.local, &near.remote), (&ip(client.local_addr()), &ip(client.peer_addr())));
        // A server of both protocols has IPv6 sockets with IPv4 addresses in them.
        assert_eq!((&far.local, &far.remote), (&near.remote, &near.local));
        client.write_all(b"hello").unwrap();
        assert_eq!(socket(&server).receive_queue, Some(5));
        client.shutdown(Shutdown::Write).unwrap();
        // The acknowledgement may be delayed.
        for (end, state) in [(&server, SocketState::CloseWait), (&client, SocketState::FinWait2)] {
            let deadline = Instant::now() + Duration::from_secs(10);
            while socket(end).state != Some(state) {
                assert!(Instant::now() < deadline, "{:?}", socket(end));
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        drop(server);
        let _ = client.read(&mut [0; 8]);
    }
}

#[test]
fn udp_sockets_and_those_without_an_address() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let found = socket(&server);
    assert_eq!((found.protocol, found.local, found.remote), (Some(Protocol::Udp), ip(server.local_addr()), None));
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(server.local_addr().unwrap()).unwrap();
    let found = socket(&client);
    assert_eq!((found.remote, found.state), (ip(server.local_addr()), Some(SocketState::Established)));
    client.send(b"four").unwrap();
    assert!(socket(&server).receive_queue.unwrap() >= 4);
    // In no table, but the kernel knows what it is.
    let unbound = socket2(nix::sys::socket::AddressFamily::Inet);
    let found = socket(&unbound);
    let bare = Socket { protocol: Some(Protocol::Tcp), ..Socket::unknown(found.inode) };
    assert_eq!(found, bare);
}

fn socket2(family: nix::sys::socket::AddressFamily) -> OwnedFd {
    use nix::sys::socket::{SockFlag, SockType};
    nix::sys::socket::socket(family, SockType::Stream, SockFlag::empty(), None).unwrap()
}

#[test]
fn unix_sockets_have_their_names() {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::SocketAddr;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s\n\u{1b}]0;x\u{7}.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let client = UnixStream::connect(&path).unwrap();
    let (server, _) = listener.accept().unwrap();
    let named = Some(SocketName::Unix(path.to_str().unwrap().to_owned()));
    let found = socket(&listener);
    assert_eq!((found.protocol, found.state), (Some(Protocol::Unix(UnixKind::Stream)), Some(SocketState::Listen)));
    assert_eq!((&found.local, &found.remote), (&named, &None));
    let limit: u64 = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap().trim().parse().unwrap();
    assert_eq!((found.accept_queue, found.backlog.map(|backlog| backlog <= limit)), (Some(0), Some(true)));
    assert_eq!((&socket(&server).local, socket(&server).state), (&named, Some(SocketState::Established)));
    // The client has no name; its peer has that of the listener.
    assert_eq!((socket(&client).local, socket(&client).remote), (None, named));
    (&client).write_all(b"abc").unwrap();
    assert_eq!(socket(&server).receive_queue, Some(3));
    let (one, _other) = UnixDatagram::pair().unwrap();
    assert_eq!(socket(&one).protocol, Some(Protocol::Unix(UnixKind::Datagram)));
    let name = format!("gospy-test-{}\0x", std::process::id());
    let hidden = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let shown = format!("@{}", name.replace('\0', "@"));
    assert_eq!(socket(&hidden).local, Some(SocketName::Unix(shown)));
    // One that writes a line for the other into the kernel's table takes its name away there, and only there.
    let forged = format!("{}\n0: 2 0 0 1 3 {} /lie", std::process::id(), socket(&listener).inode);
    let liar = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&forged).unwrap()).unwrap();
    let inode = socket(&listener).inode;
    let by_table = || sockets::find(&FxHashSet::from_iter([inode]), |table| me().file(table), |_| None)[&inode].clone();
    assert_eq!((by_table().local, socket(&listener).local.is_some()), (None, true));
    drop(liar);
    assert_eq!(by_table().local, socket(&listener).local);
}

#[test]
fn closed_descriptors_are_closed_and_all_can_be_asked_for() {
    assert_eq!(read(&me(), &BTreeSet::from([1_000_000, -1])).get(1_000_000), Some(&Descriptor::Closed));
    assert_eq!(read(&me(), &BTreeSet::from([-1])).iter().count(), 0);
    let mut child = Command::new("sleep").arg("100").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    let dir = ProcDir::open(pid).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let listed = || std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let all = read_all(&dir, &LastSockets::default());
    assert_eq!(all.iter().count(), listed());
    assert!(matches!(all.get(0), Some(Descriptor::Pipe(Pipe { end: Some(PipeEnd::Read), .. }))));
    assert_eq!(all.get(1), Some(&named(Path::new("/dev/null"), false, FileKind::CharacterDevice)));
    child.kill().unwrap();
    // A zombie has no descriptors: nothing of it is "closed".
    while dir.stat().unwrap().state != 'Z' {
        std::thread::yield_now();
    }
    assert_eq!(read(&dir, &BTreeSet::from([0])).get(0), None);
    assert!(read(&dir, &BTreeSet::from([0])).why_unknown().is_some());
    child.wait().unwrap();
    let gone = read(&dir, &BTreeSet::from([0]));
    assert_eq!((gone.why_unknown(), gone.get(0)), (Some("the process has ended"), None));
}

#[test]
fn a_recording_gives_the_same_and_a_damaged_one_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let fds = BTreeSet::from([listener.as_raw_fd(), 1_000_000]);
    let recording = RecordingTarget::new(Box::new(LiveTarget::open(me().pid()).unwrap()));
    let live = Descriptors::of(&recording, &fds).unwrap();
    assert!(matches!(live.get(listener.as_raw_fd()), Some(Descriptor::Socket(Socket { state: Some(_), .. }))));
    let kept = recording.remembered_in_recording(KEY).unwrap();
    let recorded = FakeTarget::new(Arch::Amd64).with_remembered(KEY, kept.clone());
    assert_eq!(Descriptors::of(&recorded, &fds).unwrap(), live);
    let cut = Remembered { bytes: kept.bytes[..kept.bytes.len() - 1].to_vec(), ..kept };
    let damaged = FakeTarget::new(Arch::Amd64).with_remembered(KEY, cut);
    assert!(matches!(Descriptors::of(&damaged, &fds), Err(ReadError::Damaged { .. })));
}

/// Files written by this version must be read by later ones.
#[test]
fn the_encoding_stays_as_it_is() {
    let text = r#"{"found":{"3":"closed","4":{"file":{"path":"/a","deleted":true,"kind":"regular"}},"5":{"pipe":{"inode":9,"end":"read"}},"6":{"socket":{"inode":7,"protocol":"tcp","local":{"ip":"127.0.0.1:80"},"remote":{"ip":"[::1]:81"},"state":"close_wait","send_queue":1,"receive_queue":2,"accept_queue":null,"backlog":null}},"7":{"socket":{"inode":8,"protocol":{"unix":"seq_packet"},"local":{"unix":"@x"},"remote":null,"state":null,"send_queue":null,"receive_queue":null,"accept_queue":null,"backlog":null}},"8":{"eventfd":{"count":1}},"9":"epoll","10":{"unknown":{"reason":"x"}}},"unknown":null}"#;
    let decoded = Descriptors::decode(text.as_bytes()).unwrap();
    assert_eq!(decoded.iter().count(), 8);
    assert_eq!(String::from_utf8(decoded.encode()).unwrap(), text);
    for bad in ["", "{}", "[]", r#"{"found":{"x":"closed"},"unknown":null}"#, r#"{"found":{"1":"new"},"unknown":null}"#]
    {
        assert!(Descriptors::decode(bad.as_bytes()).is_err(), "{bad}");
    }
}
