//! The other ends of the connections that goroutines wait for, against the kernel's own tables.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::real::Real;
use crate::support::{Tally, gospy, until};
use serde_json::Value;

/// `0100007F:1F90`, as in `/proc/net/tcp`: words in the machine's byte order.
fn address(text: &str) -> SocketAddr {
    let (ip, port) = text.split_once(':').unwrap();
    let words: Vec<u8> = (0..ip.len())
        .step_by(8)
        .flat_map(|at| u32::from_str_radix(&ip[at..at + 8], 16).unwrap().to_le_bytes())
        .collect();
    let ip = match words.len() {
        4 => IpAddr::from(Ipv4Addr::new(words[0], words[1], words[2], words[3])),
        _ => {
            let ip = Ipv6Addr::from(<[u8; 16]>::try_from(words).unwrap());
            ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4)
        }
    };
    SocketAddr::new(ip, u16::from_str_radix(port, 16).unwrap())
}

/// By inode: the own address, the peer's, and the number of the state.
fn table(pid: i32) -> HashMap<String, (SocketAddr, SocketAddr, u8)> {
    let lines = ["tcp", "tcp6"].map(|name| std::fs::read_to_string(format!("/proc/{pid}/net/{name}")).unwrap());
    let rows = lines.iter().flat_map(|text| text.lines().skip(1));
    rows.map(|row| {
        let fields: Vec<&str> = row.split_whitespace().collect();
        let state = u8::from_str_radix(fields[3], 16).unwrap();
        (fields[9].to_owned(), (address(fields[1]), address(fields[2]), state))
    })
    .collect()
}

/// What the kernel lists at one moment.
struct Kernel {
    /// Inodes of the sockets, by descriptor.
    sockets: HashMap<u64, String>,
    rows: HashMap<String, (SocketAddr, SocketAddr, u8)>,
}

impl Kernel {
    fn of(pid: i32) -> Self {
        let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().map(Result::unwrap);
        let socket = |entry: std::fs::DirEntry| {
            let link = std::fs::read_link(entry.path()).ok()?;
            let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned();
            Some((entry.file_name().to_str()?.parse().ok()?, inode))
        };
        Self { sockets: entries.filter_map(socket).collect(), rows: table(pid) }
    }

    fn row(&self, fd: u64) -> Option<(SocketAddr, SocketAddr, u8)> {
        self.rows.get(self.sockets.get(&fd)?).copied()
    }
}

fn request(stream: &mut TcpStream, path: &str, connection: &str) -> std::io::Result<()> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: {connection}\r\n\r\n")
}

/// A connection that stays open after a request: the server waits for the next one.
fn keep_alive(address: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    request(&mut stream, path, "keep-alive").unwrap();
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    stream
}

/// Requests one after the other, each on a connection of its own, until it is told to stop, or the test has failed
/// meanwhile: how many.
fn load(address: SocketAddr, path: &str, stop: &AtomicBool) -> u64 {
    let (started, mut count) = (Instant::now(), 0);
    while !stop.load(Ordering::Relaxed) && started.elapsed() < Duration::from_secs(300) {
        let mut stream = TcpStream::connect(address).unwrap();
        request(&mut stream, path, "close").unwrap();
        let mut answer = Vec::new();
        // A reset is an answer too.
        let _ = stream.read_to_end(&mut answer);
        count += 1;
        std::thread::sleep(Duration::from_millis(2));
    }
    count
}

fn waits(pid: i32) -> Vec<Value> {
    let document = gospy(&["stack", "--json", "--pid", &pid.to_string()]).json();
    let list = document["goroutines"]["list"].as_array().unwrap();
    let network = list.iter().filter(|goroutine| goroutine["waiting_on"]["kind"] == "network");
    network.map(|goroutine| goroutine["waiting_on"].clone()).collect()
}

/// Compares the waits of one snapshot with the kernel's tables, as far as these were the same before and after
/// it; returns the peers.
fn compare(tally: &mut Tally, pid: i32) -> Vec<SocketAddr> {
    let before = Kernel::of(pid);
    let waits = waits(pid);
    let after = Kernel::of(pid);
    let mut peers = Vec::new();
    for wait in waits.iter().filter(|wait| wait["unknown"].is_null()) {
        let fd = wait["fd"].as_u64().unwrap();
        let (was, is) = (before.row(fd), after.row(fd));
        let Some((local, remote, state)) =
            is.filter(|_| is == was && before.sockets.get(&fd) == after.sockets.get(&fd))
        else {
            continue;
        };
        tally.equal(format!("the address of {fd}"), local.to_string(), wait["local"].as_str().unwrap_or("none"));
        let (state, remote) = match state {
            1 => ("ESTABLISHED", Some(remote)),
            8 => ("CLOSE_WAIT", Some(remote)),
            10 => ("LISTEN", None),
            // On its way out.
            _ => continue,
        };
        tally.equal(format!("the state of {fd}"), state, wait["socket_state"].as_str().unwrap_or("none"));
        let text = remote.map(|remote| remote.to_string());
        tally.equal(format!("the peer of {fd}"), text.as_deref(), wait["remote"].as_str());
        peers.extend(remote);
    }
    peers
}

/// Three servers, of Go 1.19, 1.26 and 1.27, while others connect to them all the time.
#[test]
fn peers_of_real_servers_under_load_are_those_that_the_kernel_lists() {
    const ROUNDS: usize = 20;
    for (name, path) in [("prometheus", "/-/ready"), ("esbuild", "/"), ("buf", "/")] {
        let real = if name == "buf" { Real::start_buf_agent() } else { Real::start(name) };
        let (address, pid) = (real.address(), real.running.pid());
        let clients: Vec<TcpStream> = (0..50).map(|_| keep_alive(address, path)).collect();
        let own: HashSet<SocketAddr> = clients.iter().map(|client| client.local_addr().unwrap()).collect();
        // All of them wait for the next request at last.
        until("all connections to wait", || {
            let waits = waits(pid);
            (waits.len() > clients.len() && waits.iter().all(|wait| wait["fd"].is_number())).then_some(())
        });
        let mut tally = Tally::new(name);
        let stop = AtomicBool::new(false);
        let served: u64 = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..2).map(|_| scope.spawn(|| load(address, path, &stop))).collect();
            for round in 0..ROUNDS {
                let peers: HashSet<SocketAddr> = compare(&mut tally, pid).into_iter().collect();
                // And by those who are there.
                tally.holds(format!("round {round}: all who are there are waited for"), own.is_subset(&peers));
            }
            stop.store(true, Ordering::Relaxed);
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert!(served > 20, "{name}: only {served} requests beside");
        println!("{name}: {served} requests beside {ROUNDS} snapshots");
        tally.check(ROUNDS * 151);
    }
}
