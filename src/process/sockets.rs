//! Sockets by their inodes, from the tables of `/proc/PID/net`: those of the network namespace that the
//! process's main thread is in, which need not be ours.
//!
//! Each table is read once, as a stream, and only as long as sockets are wanted that were not found yet: a
//! server may have 100,000 of them, and so may its neighbours. The formats are the kernel's
//! (`get_tcp4_sock`, net/ipv4/tcp_ipv4.c, and its like; `unix_seq_show`, net/unix/af_unix.c;
//! `netlink_native_seq_show`; `packet_seq_show`). A malformed line is skipped.
//!
//! The name of a unix socket may contain anything, line breaks included, so a program in that namespace can
//! write lines into the table of unix sockets. Therefore that table comes last, and an inode that has several
//! lines in it has no name.

use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use memchr::memchr;
use rustc_hash::{FxHashMap, FxHashSet};

use super::descriptor::{Protocol, Socket, SocketName, SocketState, UnixKind};

/// Most bytes read of a table: over three million sockets.
const MAX_TABLE: u64 = 512 << 20;
/// Longest line; one of a unix socket has a name of up to 108 bytes.
const MAX_LINE: usize = 512;
/// Longest name of a unix socket, bytes (`UNIX_PATH_MAX`).
const MAX_NAME: usize = 108;

/// How the lines of a table are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// Of an IP protocol; its sockets are `protocol`'s.
    Ip(Ip),
    Unix,
    Netlink,
    Packet,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ip {
    Tcp,
    Udp,
    UdpLite,
    Icmp,
    Raw,
}

/// The tables: the likeliest first, and the one whose lines can be made up last.
const TABLES: [(&str, Format); 13] = [
    ("net/tcp6", Format::Ip(Ip::Tcp)),
    ("net/tcp", Format::Ip(Ip::Tcp)),
    ("net/udp6", Format::Ip(Ip::Udp)),
    ("net/udp", Format::Ip(Ip::Udp)),
    ("net/udplite6", Format::Ip(Ip::UdpLite)),
    ("net/udplite", Format::Ip(Ip::UdpLite)),
    ("net/icmp6", Format::Ip(Ip::Icmp)),
    ("net/icmp", Format::Ip(Ip::Icmp)),
    ("net/raw6", Format::Ip(Ip::Raw)),
    ("net/raw", Format::Ip(Ip::Raw)),
    ("net/netlink", Format::Netlink),
    ("net/packet", Format::Packet),
    ("net/unix", Format::Unix),
];

/// Finds the sockets with these inodes; `open` opens a table by its name in `/proc/PID`. What `unix` finds is used
/// in place of the table of unix sockets, unless it is `None`. Those that are in no table are not among the
/// result.
pub(super) fn find<R: Read>(
    wanted: &FxHashSet<u64>,
    open: impl Fn(&str) -> std::io::Result<R>,
    unix: impl Fn(&FxHashSet<u64>) -> Option<FxHashMap<u64, Socket>>,
) -> FxHashMap<u64, Socket> {
    let mut search = Search { wanted, found: FxHashMap::default() };
    for (name, format) in TABLES {
        if search.is_over() {
            break;
        }
        if format == Format::Unix
            && let Some(found) = unix(wanted)
        {
            found.into_iter().for_each(|(inode, socket)| search.add(inode, socket));
            continue;
        }
        // A table is absent where the kernel is built without its protocol.
        if let Ok(table) = open(name) {
            search.read(BufReader::with_capacity(64 << 10, table.take(MAX_TABLE)), format);
        }
    }
    search.found
}

/// What the tables said last, for those who ask again and again: the kernel walks through its whole hash of connections
/// for them, half a millisecond or more, however few there are.
///
/// A socket keeps its inode and its protocol, and one that is connected its addresses. Its state and its queues may
/// be [`LastSockets::LASTS`] old; tables are read at once where any socket is asked for that was not the last time.
#[derive(Debug, Default)]
pub(super) struct LastSockets(Mutex<Option<Last>>);

#[derive(Debug)]
struct Last {
    at: Instant,
    asked: FxHashSet<u64>,
    found: Arc<FxHashMap<u64, Socket>>,
}

impl LastSockets {
    /// For how long an answer is good. Who looks once a second always gets a new one.
    pub(super) const LASTS: Duration = Duration::from_millis(500);

    /// The sockets with these inodes, by `find` unless it is known already.
    pub(super) fn of(
        &self,
        wanted: &FxHashSet<u64>,
        now: Instant,
        find: impl FnOnce() -> FxHashMap<u64, Socket>,
    ) -> Arc<FxHashMap<u64, Socket>> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_good = |last: &&Last| {
            now.saturating_duration_since(last.at) < Self::LASTS
                && wanted.iter().all(|inode| last.asked.contains(inode))
        };
        if let Some(last) = last.as_ref().filter(is_good) {
            return Arc::clone(&last.found);
        }
        let found = Arc::new(find());
        *last = Some(Last { at: now, asked: wanted.clone(), found: Arc::clone(&found) });
        found
    }
}

struct Search<'a> {
    wanted: &'a FxHashSet<u64>,
    found: FxHashMap<u64, Socket>,
}

impl Search<'_> {
    fn is_over(&self) -> bool {
        self.found.len() >= self.wanted.len()
    }

    /// Reads one table, as far as need be. What was read before an error counts.
    fn read(&mut self, mut table: impl BufRead, format: Format) {
        let mut line = Vec::new();
        // Names are only known when their lines are over.
        let mut last: Option<Named> = None;
        let mut names = Names::default();
        while let Ok(true) = next_line(&mut table, &mut line) {
            match (format, parse(&line, format)) {
                (Format::Unix, Some((socket, name))) => {
                    names.add(last.replace(Named { socket, name }), self.wanted);
                }
                (Format::Unix, None) => {
                    if let Some(last) = &mut last {
                        last.go_on(&line);
                    }
                }
                (_, Some((socket, _))) if self.wanted.contains(&socket.inode) => {
                    self.add(socket.inode, socket);
                    if self.is_over() {
                        return;
                    }
                }
                _ => {}
            }
        }
        names.add(last, self.wanted);
        for (inode, socket) in names.0 {
            self.add(inode, socket);
        }
    }

    /// What another table said before counts.
    fn add(&mut self, inode: u64, socket: Socket) {
        self.found.entry(inode).or_insert(socket);
    }
}

/// A unix socket and its name, to which more lines may belong.
struct Named {
    socket: Socket,
    name: Vec<u8>,
}

impl Named {
    /// A line that is none of a socket is a part of a name with a line break in it.
    fn go_on(&mut self, line: &[u8]) {
        if !self.name.is_empty() && self.name.len() + 1 + line.len() <= MAX_NAME {
            self.name.push(b'\n');
            self.name.extend_from_slice(line);
        }
    }
}

/// The wanted unix sockets of a table.
#[derive(Default)]
struct Names(FxHashMap<u64, Socket>);

impl Names {
    fn add(&mut self, named: Option<Named>, wanted: &FxHashSet<u64>) {
        let Some(Named { mut socket, name }) = named.filter(|named| wanted.contains(&named.socket.inode)) else {
            return;
        };
        if !name.is_empty() {
            socket.local = Some(SocketName::Unix(String::from_utf8_lossy(&name).into_owned()));
        }
        let same = |known: &mut Socket| {
            // Only one of the lines is the kernel's own.
            *known = Socket { protocol: Some(Protocol::Unix(UnixKind::Unknown)), ..Socket::unknown(known.inode) };
        };
        self.0.entry(socket.inode).and_modify(same).or_insert(socket);
    }
}

/// The next line without its end; false after the last one. Longer lines are cut to [`MAX_LINE`] bytes.
fn next_line(table: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<bool> {
    line.clear();
    let mut any = false;
    loop {
        let buffer = table.fill_buf()?;
        if buffer.is_empty() {
            return Ok(any);
        }
        any = true;
        let end = memchr(b'\n', buffer);
        let part = buffer.get(..end.unwrap_or(buffer.len())).unwrap_or_default();
        let room = MAX_LINE.saturating_sub(line.len()).min(part.len());
        line.extend_from_slice(part.get(..room).unwrap_or_default());
        let used = part.len() + usize::from(end.is_some());
        table.consume(used);
        if end.is_some() {
            return Ok(true);
        }
    }
}

/// The socket of a line, and the name that it ends with.
fn parse(line: &[u8], format: Format) -> Option<(Socket, Vec<u8>)> {
    match format {
        Format::Ip(ip) => Some((ip_socket(line, ip)?, Vec::new())),
        Format::Unix => unix_socket(line),
        Format::Netlink => Some((netlink_socket(line)?, Vec::new())),
        Format::Packet => Some((packet_socket(line)?, Vec::new())),
    }
}

/// `sl local_address rem_address st tx_queue:rx_queue tr:when retrnsmt uid timeout inode …`
fn ip_socket(line: &[u8], ip: Ip) -> Option<Socket> {
    let mut fields = line.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
    let slot = fields.next()?;
    (slot.last() == Some(&b':')).then_some(())?;
    let (local, remote, state, queues) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let inode = decimal(fields.nth(4)?)?;
    let (local, remote) = (address(local)?, address(remote)?);
    let state = u8::try_from(hexadecimal(state)?).ok()?;
    let (sent, received) = pair(queues)?;
    let (sent, received) = (hexadecimal(sent)?, hexadecimal(received)?);
    let protocol = match ip {
        Ip::Tcp => Protocol::Tcp,
        Ip::Udp => Protocol::Udp,
        Ip::UdpLite => Protocol::UdpLite,
        Ip::Icmp => Protocol::Icmp,
        Ip::Raw => Protocol::Raw(u8::try_from(local.port()).ok()?),
    };
    let state = SocketState::of(state).filter(|state| ip == Ip::Tcp || *state != SocketState::Close);
    let listens = state == Some(SocketState::Listen);
    // For raw sockets the port is the protocol.
    let portless = |address: SocketAddr| SocketAddr::new(address.ip(), 0);
    let named = |address: SocketAddr| Some(SocketName::Ip(address));
    let own = if ip == Ip::Raw { portless(local) } else { local };
    Some(Socket {
        protocol: Some(protocol),
        local: if is_set(own) { named(own) } else { None },
        remote: if is_set(remote) { named(remote) } else { None },
        state,
        send_queue: (!listens).then_some(sent),
        receive_queue: (!listens).then_some(received),
        accept_queue: listens.then_some(received),
        ..Socket::unknown(inode)
    })
}

fn is_set(address: SocketAddr) -> bool {
    address.port() != 0 || !address.ip().is_unspecified()
}

/// `Num: RefCount Protocol Flags Type St Inode`, and a name if it has one.
fn unix_socket(line: &[u8]) -> Option<(Socket, Vec<u8>)> {
    /// `__SO_ACCEPTCON`: it accepts connections.
    const ACCEPTS: u64 = 1 << 16;
    let mut rest = line;
    let mut field = || {
        let start = rest.iter().position(|byte| *byte != b' ')?;
        let from = rest.get(start..)?;
        let end = memchr(b' ', from).unwrap_or(from.len());
        let (field, after) = from.split_at_checked(end)?;
        rest = after;
        Some(field)
    };
    let number = field()?.strip_suffix(b":")?;
    hexadecimal(number)?;
    let (references, protocol, flags) = (field()?, field()?, field()?);
    hexadecimal(references)?;
    hexadecimal(protocol)?;
    let flags = hexadecimal(flags)?;
    let kind = match hexadecimal(field()?)? {
        1 => UnixKind::Stream,
        2 => UnixKind::Datagram,
        5 => UnixKind::SeqPacket,
        _ => UnixKind::Unknown,
    };
    // Of `socket_state` (linux/net.h).
    let state = match hexadecimal(field()?)? {
        _ if flags & ACCEPTS != 0 => Some(SocketState::Listen),
        2 => Some(SocketState::SynSent),
        3 => Some(SocketState::Established),
        _ => None,
    };
    let inode = decimal(field()?)?;
    let name = rest.strip_prefix(b" ").unwrap_or_default().to_vec();
    Some((Socket { protocol: Some(Protocol::Unix(kind)), state, ..Socket::unknown(inode) }, name))
}

/// `sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode`
fn netlink_socket(line: &[u8]) -> Option<Socket> {
    let mut fields = line.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
    let family = u32::try_from(decimal(fields.nth(1)?)?).ok()?;
    let received = decimal(fields.nth(2)?)?;
    let sent = decimal(fields.next()?)?;
    let inode = decimal(fields.nth(3)?)?;
    Some(Socket {
        protocol: Some(Protocol::Netlink(family)),
        send_queue: Some(sent),
        receive_queue: Some(received),
        ..Socket::unknown(inode)
    })
}

/// `sk RefCnt Type Proto Iface R Rmem User Inode`
fn packet_socket(line: &[u8]) -> Option<Socket> {
    let mut fields = line.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
    let received = decimal(fields.nth(6)?)?;
    let inode = decimal(fields.nth(1)?)?;
    Some(Socket { protocol: Some(Protocol::Packet), receive_queue: Some(received), ..Socket::unknown(inode) })
}

/// An address and a port, each in hexadecimal: the address as words of the machine, the port as a number.
fn address(text: &[u8]) -> Option<SocketAddr> {
    let (ip, port) = pair(text)?;
    let port = u16::try_from(hexadecimal(port)?).ok()?;
    let word = |digits: &[u8]| Some(u32::try_from(hexadecimal(digits)?).ok()?.to_ne_bytes());
    let (words, rest) = ip.as_chunks::<8>();
    let ip = match words {
        [one] if rest.is_empty() => IpAddr::V4(Ipv4Addr::from(word(one)?)),
        [a, b, c, d] if rest.is_empty() => {
            let mut bytes = [0; 16];
            for (to, from) in bytes.as_chunks_mut::<4>().0.iter_mut().zip([a, b, c, d]) {
                *to = word(from)?;
            }
            IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

fn pair(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (before, after) = text.split_at_checked(memchr(b':', text)?)?;
    Some((before, after.get(1..)?))
}

fn decimal(digits: &[u8]) -> Option<u64> {
    number(digits, 10)
}

fn hexadecimal(digits: &[u8]) -> Option<u64> {
    number(digits, 16)
}

/// Digits alone: `from_str_radix` would accept a sign.
fn number(digits: &[u8], base: u32) -> Option<u64> {
    let valid = digits.iter().all(|digit| char::from(*digit).is_digit(base));
    valid.then(|| u64::from_str_radix(std::str::from_utf8(digits).ok()?, base).ok()).flatten()
}

#[cfg(test)]
#[path = "sockets_tests.rs"]
mod tests;
