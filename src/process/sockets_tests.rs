use std::cell::Cell;
use std::io;

use proptest::prelude::*;

use super::*;

const IP_HEADER: &str =
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";

/// What is found of `wanted` in these tables; others are absent.
fn search(wanted: &[u64], tables: &[(&str, &str)]) -> FxHashMap<u64, Socket> {
    let wanted = wanted.iter().copied().collect();
    let open = |name: &str| match tables.iter().find(|(known, _)| *known == name) {
        Some((_, text)) => Ok(io::Cursor::new(text.as_bytes().to_vec())),
        None => Err(io::ErrorKind::NotFound.into()),
    };
    find(&wanted, open, |_| None)
}

fn ip(text: &str) -> Option<SocketName> {
    Some(SocketName::Ip(text.parse().unwrap()))
}

fn unix(name: &str) -> Option<SocketName> {
    Some(SocketName::Unix(name.to_owned()))
}

#[test]
fn connections_and_listeners_are_read() {
    let tcp = format!(
        "{IP_HEADER}\n   0: 0100007F:1F90 00000000:0000 0A 00000000:00000003 00:00000000 00000000     0        0 11 1 0\n\
         \x20  1: 0300000A:A112 0700000A:1538 01 00000010:00000020 01:00000016 00000000  1000        0 12 2 0\n\
         \x20  2: 0300000A:A113 0700000A:1538 08 00000000:00000000 00:00000000 00000000  1000        0 13 2 0\n"
    );
    let tcp6 = format!(
        "{IP_HEADER}\n   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A \
         00000000:00000000 00:00000000 00000000     0        0 14 1 0\n\
         \x20  1: 0000000000000000FFFF00000100007F:0050 0000000000000000FFFF00000200007F:D431 01 \
         00000000:00000000 00:00000000 00000000     0        0 15 1 0\n\
         \x20  2: B80D0120000000000000000001000000:0050 B80D0120000000000000000002000000:D432 05 \
         00000000:00000000 00:00000000 00000000     0        0 16 1 0\n"
    );
    let found = search(&[11, 12, 13, 14, 15, 16, 99], &[("net/tcp", &tcp), ("net/tcp6", &tcp6)]);
    let tcp = |inode| Socket { protocol: Some(Protocol::Tcp), ..Socket::unknown(inode) };
    let connected = |inode, state, local, remote| Socket {
        state: Some(state),
        local: ip(local),
        remote: ip(remote),
        send_queue: Some(0),
        receive_queue: Some(0),
        ..tcp(inode)
    };
    assert_eq!(
        found[&11],
        Socket { local: ip("127.0.0.1:8080"), state: Some(SocketState::Listen), accept_queue: Some(3), ..tcp(11) }
    );
    let established = connected(12, SocketState::Established, "10.0.0.3:41234", "10.0.0.7:5432");
    assert_eq!(found[&12], Socket { send_queue: Some(16), receive_queue: Some(32), ..established });
    assert_eq!(found[&13], connected(13, SocketState::CloseWait, "10.0.0.3:41235", "10.0.0.7:5432"));
    assert_eq!(
        found[&14],
        Socket { local: ip("[::]:80"), state: Some(SocketState::Listen), accept_queue: Some(0), ..tcp(14) }
    );
    assert_eq!(found[&15], connected(15, SocketState::Established, "127.0.0.1:80", "127.0.0.2:54321"));
    assert_eq!(found[&16], connected(16, SocketState::FinWait2, "[2001:db8::1]:80", "[2001:db8::2]:54322"));
    assert!(!found.contains_key(&99));
}

#[test]
fn other_protocols_are_read() {
    let udp = format!(
        "{IP_HEADER} ref pointer drops\n  112: 00000000:0035 00000000:0000 07 00000000:00000100 00:00000000 00000000 0 0 21 2 0 0\n\
         \x20 113: 0100007F:8001 0100007F:0035 01 00000000:00000000 00:00000000 00000000 0 0 22 2 0 0\n"
    );
    let raw = format!(
        "{IP_HEADER}\n    1: 00000000:0001 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 23 2 0 0\n"
    );
    let netlink = "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n\
                   000000002d93015f 15  4711       00000000 8        9        0     2        0        24      \n";
    let packet = "sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n\
                  000000002d93015f 3      3    0003   2     1 77     0      25    \n";
    let tables = [("net/udp", &*udp), ("net/raw", &*raw), ("net/netlink", netlink), ("net/packet", packet)];
    let found = search(&[21, 22, 23, 24, 25], &tables);
    let queues = |inode, protocol, send_queue, receive_queue| Socket {
        protocol: Some(protocol),
        send_queue,
        receive_queue,
        ..Socket::unknown(inode)
    };
    let zero = Some(0);
    assert_eq!(found[&21], Socket { local: ip("0.0.0.0:53"), ..queues(21, Protocol::Udp, zero, Some(256)) });
    assert_eq!(
        found[&22],
        Socket {
            local: ip("127.0.0.1:32769"),
            remote: ip("127.0.0.1:53"),
            state: Some(SocketState::Established),
            ..queues(22, Protocol::Udp, zero, zero)
        }
    );
    assert_eq!(found[&23], queues(23, Protocol::Raw(1), zero, zero));
    assert_eq!(found[&24], queues(24, Protocol::Netlink(15), Some(9), Some(8)));
    assert_eq!(found[&25], queues(25, Protocol::Packet, None, Some(77)));
}

#[test]
fn unix_sockets_have_their_names() {
    let table = "Num       RefCount Protocol Flags    Type St Inode Path\n\
        00000000de2e3928: 00000003 00000000 00000000 0001 03  1600\n\
        00000000de2e3929: 00000002 00000000 00010000 0001 01 31 /run/a b.sock\n\
        00000000de2e392a: 00000003 00000000 00000000 0005 03 32 @abstract@x\n\
        00000000de2e392b: 00000003 00000000 00000000 0002 01 33\n\
        00000000de2e392c: 00000003 00000000 00000000 0001 02 34 /first\nsecond\x1b[2J\n\nfourth\n\
        00000000de2e392d: 00000003 00000000 00000000 0001 03 35  leading\n";
    let found = search(&[31, 32, 33, 34, 35], &[("net/unix", table)]);
    let of = |inode, kind| Socket { protocol: Some(Protocol::Unix(kind)), ..Socket::unknown(inode) };
    let listens = Socket { state: Some(SocketState::Listen), ..of(31, UnixKind::Stream) };
    assert_eq!(found[&31], Socket { local: unix("/run/a b.sock"), ..listens });
    let connected = Socket { state: Some(SocketState::Established), ..of(32, UnixKind::SeqPacket) };
    assert_eq!(found[&32], Socket { local: unix("@abstract@x"), ..connected });
    assert_eq!(found[&33], of(33, UnixKind::Datagram));
    let connecting = Socket { state: Some(SocketState::SynSent), ..of(34, UnixKind::Stream) };
    assert_eq!(found[&34], Socket { local: unix("/first\nsecond\x1b[2J\n\nfourth"), ..connecting });
    assert_eq!(found[&35].local, unix(" leading"));
}

#[test]
fn an_inode_with_two_lines_has_no_name() {
    // The second is the end of a name that somebody else has chosen.
    let table = "00000000de2e3929: 00000002 00000000 00010000 0001 01 41 /run/real\n\
        00000000de2e392a: 00000002 00000000 00000000 0001 01 42 @x\n\
        0: 2 0 0 1 3 41 /run/forged\n\
        0: 2 0 0 1 3 43 /run/forged\n";
    let tcp = format!(
        "{IP_HEADER}\n   0: 0100007F:1F90 00000000:0000 0A 00000000:00000003 00:00000000 00000000     0        0 43 1 0\n"
    );
    let found = search(&[41, 43], &[("net/unix", table), ("net/tcp", &tcp)]);
    let nameless = Socket { protocol: Some(Protocol::Unix(UnixKind::Unknown)), ..Socket::unknown(41) };
    assert_eq!(found[&41], nameless);
    // What another table says counts.
    assert_eq!(found[&43].local, ip("127.0.0.1:8080"));
}

#[test]
fn tables_are_read_only_as_long_as_something_is_missing() {
    let line = |inode| {
        format!(
            "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000003 00:00000000 00000000     0        0 {inode} 1 0\n"
        )
    };
    let opened = Cell::new(0);
    let open = |name: &str| {
        opened.set(opened.get() + 1);
        Ok(io::Cursor::new(if name == "net/tcp" { line(5).into_bytes() } else { Vec::new() }))
    };
    assert_eq!(find(&FxHashSet::default(), open, |_| None).len(), 0);
    assert_eq!(opened.get(), 0);
    assert_eq!(find(&FxHashSet::from_iter([5]), open, |_| None).len(), 1);
    assert_eq!(opened.get(), 2);
    assert_eq!(find(&FxHashSet::from_iter([6]), open, |_| None).len(), 0);
    assert_eq!(opened.get(), 2 + TABLES.len());
    // Unix sockets that are known otherwise need no table.
    let known = |wanted: &FxHashSet<u64>| Some(wanted.iter().map(|inode| (*inode, Socket::unknown(*inode))).collect());
    assert_eq!(find(&FxHashSet::from_iter([6]), open, known).len(), 1);
    assert_eq!(opened.get(), 1 + 2 * TABLES.len());
}

#[test]
fn malformed_lines_are_skipped() {
    let good = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000003 00:00000000 00000000     0        0 7 1 0";
    let fields: Vec<&str> = good.split_whitespace().collect();
    for (at, bad) in [
        (0, "x"),
        (1, "0100007F"),
        (1, "0100007:1F90"),
        (1, "0100007F:11F90"),
        (1, "+100007F:1F90"),
        (1, "0100007F0100007F:1F90"),
        (2, "G0000000:0000"),
        (3, "100"),
        (4, "00000000"),
        (4, ":"),
        (9, "-7"),
        (9, "99999999999999999999"),
    ] {
        let mut fields = fields.clone();
        fields[at] = bad;
        let (line, table) = (fields.join(" "), format!("{}\n{good}\n", fields.join(" ")));
        assert_eq!(parse(line.as_bytes(), Format::Ip(Ip::Tcp)), None, "{line}");
        assert_eq!(search(&[7], &[("net/tcp", &table)]).len(), 1, "{line}");
    }
    // An unknown state is unknown, and a cut line is none.
    assert_eq!(ip_socket(good.replace("0A", "0D").as_bytes(), Ip::Tcp).unwrap().state, None);
    for len in 0..good.find(" 7 ").unwrap() {
        assert_eq!(ip_socket(&good.as_bytes()[..len], Ip::Tcp), None);
    }
}

#[test]
fn a_line_without_an_end_takes_no_memory() {
    let endless = io::repeat(b'x').take(1 << 20);
    let mut line = Vec::new();
    assert!(next_line(&mut BufReader::new(endless), &mut line).unwrap());
    assert_eq!(line.len(), MAX_LINE);
}

proptest! {
    #[test]
    fn arbitrary_tables_do_not_panic(text in "([-@:/0-9A-F x]{0,90}\\n){0,4}", unix in any::<bool>()) {
        let name = if unix { "net/unix" } else { "net/tcp6" };
        search(&[1, 2, 3], &[(name, &text)]);
    }

    #[test]
    fn what_is_written_is_read(a: u32, b: u128, port: u16, inode: u64) {
        let word = |bytes: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(bytes));
        let six: String = b.to_be_bytes().as_chunks::<4>().0.iter().map(|bytes| word(*bytes)).collect();
        let four = word(a.to_be_bytes());
        for (text, ip) in [(four, IpAddr::from(a.to_be_bytes())), (six, IpAddr::from(b.to_be_bytes()).to_canonical())] {
            let line = format!(" 1: {text}:{port:04X} {text}:0000 01 0:0 00:0 0 0 0 {inode} 1");
            let socket = ip_socket(line.as_bytes(), Ip::Tcp).unwrap();
            prop_assert_eq!(socket.inode, inode);
            let wanted = SocketAddr::new(ip, port);
            prop_assert_eq!(socket.local, is_set(wanted).then_some(SocketName::Ip(wanted)));
        }
    }
}

/// The same request is answered from the cache for a while; one for more, or a later one, reads again.
#[test]
fn tables_are_not_read_again_at_once() {
    let last = LastSockets::default();
    let reads = Cell::new(0);
    let begun = Instant::now();
    let ask = |wanted: &[u64], ms: u64| {
        let wanted = wanted.iter().copied().collect();
        let found = last.of(&wanted, begun + Duration::from_millis(ms), || {
            reads.set(reads.get() + 1);
            // 99 is in no table.
            wanted.iter().filter(|inode| **inode != 99).map(|&inode| (inode, Socket::unknown(inode))).collect()
        });
        assert_eq!(
            found.contains_key(&wanted.iter().copied().min().unwrap()),
            !wanted.contains(&99) || wanted.len() > 1
        );
        reads.get()
    };
    assert_eq!([ask(&[5, 99], 0), ask(&[5], 400), ask(&[99], 450), ask(&[5, 99], 499)], [1; 4]);
    assert_eq!(ask(&[5], 500), 2);
    // Another one: it may have been opened just now.
    assert_eq!([ask(&[5, 6], 501), ask(&[6], 502), ask(&[7], 503)], [3, 3, 4]);
}
