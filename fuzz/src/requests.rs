//! What others say to gospy: filters, requests, messages, and what the kernel says.

use std::sync::{Arc, OnceLock};

use gospy::analysis::{Filter, Index};
use gospy::capture::{CaptureOptions, OpenOptions, Session};
use gospy::model::Snapshot;
use gospy::process::Target;
use gospy::testing::decoders::{self, MadeUpServer};
use tokio::runtime::Runtime;

use crate::bases::{self, Changed};
use crate::parts::{Bytes, put_part};

/// A snapshot with something of everything that a filter asks about.
fn snapshot() -> &'static Snapshot {
    static SNAPSHOT: OnceLock<Snapshot> = OnceLock::new();
    SNAPSHOT.get_or_init(|| {
        let target = decoders::core(Arc::new(Changed::new(bases::heap(), Bytes(&[])))).expect("it is a capture");
        let mut session = Session::open(Box::new(target), &OpenOptions::default()).expect("it has a program");
        let options = CaptureOptions { stacks: true, waits: true, system_calls: true, ..CaptureOptions::default() };
        session.capture(&options).expect("it can be read")
    })
}

/// Bytes of what is asked about.
#[must_use]
pub fn heap_size() -> usize {
    bases::heap().bytes.len()
}

/// Expressions of `--filter`.
#[must_use]
pub fn filter(input: &[u8]) -> usize {
    let text = String::from_utf8_lossy(input);
    match Filter::parse(&text) {
        Ok(filter) => {
            let index = Index::new(snapshot());
            let parts = filter.with_parts().map_or(0, |(_, parts)| 1 + parts.select(&index).len());
            1 + filter.select(&index).len() + parts
        }
        Err(error) => {
            let at = error.at();
            assert!(at.start <= at.end, "{error:?}");
            usize::from(error.to_string().is_empty())
        }
    }
}

/// One of each kind of test.
#[must_use]
pub fn filter_seeds() -> Vec<Vec<u8>> {
    let texts = [
        "state=waiting and age>5m",
        "reason~chan",
        "not system",
        "(worker or consumer) and !locked",
        "label.tenant=a or label~\"k=v\"",
        "kind=channel and object=0xc000012345",
        "peer~^10\\. or fd<=7 and deadline<30s",
        "id=1 or parent>2 or thread!=3 or m>=0 or bubble<9",
        "stack>64KB and holder=7 and type=int",
        "place~main\\.go:2 file=\"main.go:27\" start=main.main creator!~net/http",
        "(((((a))))) and not not not b",
        "func~(a|b){2,40}[[:alpha:]]\\pL",
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// Words of the language.
pub const FILTER_WORDS: &[&[u8]] = &[
    b"state",
    b"reason",
    b"func",
    b"place",
    b"file",
    b"start",
    b"creator",
    b"label.",
    b"age",
    b"kind",
    b"object",
    b"type",
    b"peer",
    b"fd",
    b"deadline",
    b"holder",
    b"id",
    b"parent",
    b"m",
    b"thread",
    b"bubble",
    b"stack",
    b"system",
    b"locked",
    b" and ",
    b" or ",
    b"not ",
    b"(",
    b")",
    b"!",
    b"=",
    b"!=",
    b"~",
    b"!~",
    b"<=",
    b">=",
    b"\"",
    b"\\",
    b"1h30m",
    b"64KB",
    b"0xc000",
    b"waiting",
    b"{1,9}",
    b"\\w{50}",
    b"\xc3\xa4",
];

/// The pid of the program that does not exist.
const PID: i32 = 4_000_000;

fn served() -> &'static (Runtime, MadeUpServer) {
    static SERVED: OnceLock<(Runtime, MadeUpServer)> = OnceLock::new();
    SERVED.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let open = || {
            let target = decoders::core(Arc::new(Changed::new(bases::heap(), Bytes(&[])))).expect("it is a capture");
            Ok(Box::new(target) as Box<dyn Target>)
        };
        (runtime, MadeUpServer::new(PID, Box::new(open)))
    })
}

/// What is answered by waiting for seconds: nothing but the waiting would be tried.
const SLOW: [&[u8]; 5] = [b"seconds", b"fgprof", b"watch_growth", b"/diff", b"profile"];

fn is_slow(input: &[u8]) -> bool {
    SLOW.iter().any(|word| input.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word)))
}

fn ask(bytes: &[u8]) -> usize {
    let (runtime, server) = served();
    let (answers, length) = runtime.block_on(server.answer(bytes));
    answers + length
}

/// Requests over one connection, as they come.
#[must_use]
pub fn http(input: &[u8]) -> usize {
    if is_slow(input) { 0 } else { ask(input) }
}

/// One for each path.
#[must_use]
pub fn http_seeds() -> Vec<Vec<u8>> {
    let paths = [
        "/",
        "/sd",
        "/metrics",
        "/link",
        "/enter?code=0123456789abcdef",
        "/page.js",
        "/pid/4000000/metrics",
        "/name/made-up/metrics?x=1",
        "/pid/4000000/page.json?filter=state%3Dwaiting",
        "/pid/4000000/live",
        "/pid/4000000/debug/pprof/",
        "/pid/4000000/debug/pprof/goroutine?debug=2",
        "/pid/4000000/debug/pprof/heap?gc=1",
        "/pid/4000000/debug/pprof/block?debug=1",
        "/pid/4000000/debug/pprof/cmdline",
        "/pid/4000000/debug/pprof/symbol?0x401000+0x402000",
        "/api/v1/openapi.json",
        "/api/v1/programs",
        "/api/v1/pid/4000000/summary?filter=not%20system&limit=3&group=stack",
        "/api/v1/pid/4000000/stacks?limit=2",
        "/api/v1/pid/4000000/waits?sort=count",
        "/api/v1/pid/4000000/events",
        "/api/v1/pid/4000000/check?max-goroutines=9",
        "/pid/4000000%2f..%00/metrics",
        "/all/metrics",
        "/page.css",
        "/name/nobody/metrics",
        "/pid/4000000/debug/pprof/mutex",
        "/pid/4000000/debug/pprof/allocs?debug=1",
        "/pid/4000000/debug/pprof/goroutine",
        "/pid/4000000/debug/pprof/goroutineleak?debug=2",
        "/pid/4000000/debug/pprof/threadcreate?debug=1",
        "/pid/4000000/debug/pprof/trace",
        "/api/v1/processes?sort=name&reverse",
        "/api/v1/name/made-up/summary?all&sort=age&reverse=false&goid=1,3-9&pc=creator&show_dead&group=label%3Dk",
        "/api/v1/pid/4000000/stacks?similar&system&group_by=start",
        "/api/v1/pid/4000000/why?goid=1",
        "/api/v1/pid/4000000/why?leaks",
        "/api/v1/pid/4000000/leaks",
        "/api/v1/pid/4000000/heap?limit=3",
        "/api/v1/pid/4000000/heap?objects&path_to=runtime.p&only_from=goroutine:1",
        "/api/v1/pid/4000000/check?no_findings&no_leaks&max_group=2&max_wait=1s&forbid_function=main&allow=x&freeze",
    ];
    let mut seeds: Vec<Vec<u8>> = paths
        .iter()
        .map(|path| {
            format!("GET {path} HTTP/1.1\r\nHost: localhost:8974\r\nAccept: text/html\r\nCookie: gospy=0; a=b\r\n\r\n")
                .into_bytes()
        })
        .collect();
    let posted = "POST /pid/4000000/debug/pprof/symbol HTTP/1.1\r\nHost: localhost\r\nContent-Length: 17\r\n\r\n0x401000+0x402000";
    seeds.push(posted.as_bytes().to_vec());
    let chunked = "POST /mcp HTTP/1.1\r\nHost: [::1]:1\r\nTransfer-Encoding: chunked\r\nAuthorization: Bearer x\r\n\r\n5\r\nabcde\r\n0\r\n\r\n";
    seeds.push(chunked.as_bytes().to_vec());
    let two = "HEAD / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\nSec-Fetch-Site: same-origin\r\n\r\n\
        GET /sd HTTP/1.0\r\nHost: localhost\r\nIf-None-Match: \"x\"\r\nAccept-Encoding: gzip\r\n\r\n";
    seeds.push(two.as_bytes().to_vec());
    // What is refused: another host, another site, a cookie that is none; and packed answers.
    let refused = "GET /sd HTTP/1.1\r\nHost: example.com\r\n\r\nGET / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://example.com\r\n\
        Sec-Fetch-Site: cross-site\r\n\r\nPUT / HTTP/1.1\r\nHost: localhost\r\n\r\n\
        GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: br;q=1, gzip;q=0.5\r\nAuthorization: Basic eDp5\r\n\r\n";
    seeds.push(refused.as_bytes().to_vec());
    seeds
}

/// Words of requests.
pub const HTTP_WORDS: &[&[u8]] = &[
    b"GET ",
    b"HEAD ",
    b"POST ",
    b" HTTP/1.1\r\n",
    b"Host: localhost\r\n",
    b"\r\n\r\n",
    b"/api/v1/pid/4000000/",
    b"summary",
    b"stacks",
    b"waits",
    b"why",
    b"leaks",
    b"heap",
    b"check",
    b"contention",
    b"?filter=",
    b"&group=",
    b"&sort=",
    b"&limit=",
    b"&goid=1",
    b"%00",
    b"%ff",
    b"%2f",
    b"..",
    b"&system=true",
    b"debug=1",
    b"/name/made-up/",
    b"label=",
    b"true",
    b"--",
    b"Content-Length: ",
    b"Origin: ",
    b"text/html",
];

/// Messages of the Model Context Protocol, as bodies of requests.
#[must_use]
pub fn mcp(input: &[u8]) -> usize {
    if is_slow(input) {
        return 0;
    }
    let mut request = format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nAccept: application/json, text/event-stream\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        input.len()
    )
    .into_bytes();
    request.extend(input);
    ask(&request)
}

/// One of each method and tool.
#[must_use]
pub fn mcp_seeds() -> Vec<Vec<u8>> {
    let call = |tool: &str, arguments: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments}}}}}"#
        )
    };
    let initialize = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}"#;
    let texts = [
        initialize.to_owned(),
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":2,"method":"tools/list","params":{}}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":"a","method":"ping"}"#.to_owned(),
        call("list_processes", r#"{"offset":0,"max_tokens":100}"#),
        call("overview", r#"{"program":4000000}"#),
        call("groups", r#"{"program":"made-up","by":"stack","filter":"state=waiting","offset":1}"#),
        call("goroutine", r#"{"id":"1,3-9","frames":4}"#),
        call("why", "{}"),
        call("waits", r#"{"filter":"kind=channel","limit":3}"#),
        call("leaks", "{}"),
        call("heap", r#"{"objects":true,"limit":2}"#),
        call("compare", "{}"),
        call("compare", r#"{"mark":"1"}"#),
        call("goroutine", r#"{"id":1}"#),
        call("goroutine", r#"{"id":"999999"}"#),
        call("groups", r#"{"by":"label=k","max_tokens":1}"#),
        call("groups", r#"{"by":"what","filter":"("}"#),
        call("heap", r#"{"limit":1,"max_tokens":6000}"#),
        call("overview", r#"{"program":"nobody"}"#),
        call("nothing", "{}"),
        r#"{"jsonrpc":"2.0","id":3,"method":"resources/list"}"#.to_owned(),
        r#"[{"jsonrpc":"2.0","id":4,"method":"ping"}]"#.to_owned(),
    ];
    texts.into_iter().map(String::into_bytes).collect()
}

/// Words of messages.
pub const MCP_WORDS: &[&[u8]] = &[
    b"\"method\":",
    b"\"params\":",
    b"\"id\":",
    b"\"name\":",
    b"\"arguments\":",
    b"\"filter\":",
    b"\"by\":",
    b"\"program\":",
    b"\"objects\":true",
    b"\"offset\":",
    b"\"limit\":",
    b"\"frames\":",
    b"\"max_tokens\":",
    b"\"mark\":",
    b"18446744073709551615",
    b"-1",
    b"1e400",
    b"null",
    b"[",
    b"]",
    b"{",
    b"}",
    b"\"\\u0000\"",
    b"label=",
    b"\"similar\"",
    b"\"object\"",
];

/// Records of perf events: the first byte says whether the rest is records as they are, or bodies to be put together.
#[must_use]
pub fn perf(input: &[u8]) -> usize {
    let mut input = Bytes(input);
    if input.byte().unwrap_or(0) & 1 == 0 {
        return decoders::perf(input.0);
    }
    let mut records = Vec::new();
    while let (Some(kind), Some(misc), Some(body)) = (input.byte(), input.number(2), input.part()) {
        let body = &body[..body.len().min(60_000)];
        records.extend(u32::from(kind).to_le_bytes());
        records.extend((misc as u16).to_le_bytes());
        records.extend((8 + body.len() as u16).to_le_bytes());
        records.extend(body);
    }
    decoders::perf(&records)
}

/// Samples of both machines, and one of each other record.
#[must_use]
pub fn perf_seeds() -> Vec<Vec<u8>> {
    const IDS: u64 = 4242 | 4243 << 32;
    let words = |words: &[u64]| -> Vec<u8> { words.iter().flat_map(|word| word.to_le_bytes()).collect() };
    let bodies = [
        (9, 1, words(&[IDS, 77, 4, -512_i64 as u64, 0x10, 0x20, 0x30, 2, 1, 2, 3, 4, 16, 0xa, 0xb, 8])),
        (9, 2, words(&[IDS, 77, 1, 0x10, 2, 1, 2, 3, 4, 5, 0])),
        (9, 2, words(&[IDS, 77, 0, 0, 0])),
        // Code of 32 bits.
        (9, 2, words(&[IDS, 77, 1, 0x10, 1])),
        (2, 0, words(&[1, 17])),
        (13, 0, words(&[3])),
        (7, 0, words(&[4242 | 1 << 32, 4300 | 4242 << 32, 5])),
        (3, 1 << 13, words(&[IDS, 0x61])),
    ];
    let (mut made, mut plain) = (vec![1], vec![0]);
    for (kind, misc, body) in &bodies {
        made.push(*kind);
        made.extend((*misc as u16).to_le_bytes());
        put_part(&mut made, body);
        plain.extend(u32::from(*kind).to_le_bytes());
        plain.extend((*misc as u16).to_le_bytes());
        plain.extend((8 + body.len() as u16).to_le_bytes());
        plain.extend(body);
    }
    vec![made, plain]
}

/// Files of `/proc` and answers of sockets.
#[must_use]
pub fn proc_files(input: &[u8]) -> usize {
    decoders::proc_files(input)
}

/// One of each file.
#[must_use]
pub fn proc_seeds() -> Vec<Vec<u8>> {
    let texts = [
        "00400000-00585000 r-xp 00000000 08:01 1234   /usr/bin/a\\040b (deleted)\n7fff0000-7fff1000 rw-p 00000000 00:00 0 [stack]\n",
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   0: 0100007F:230E 00000000:0000 0A 00000000:00000007 00:00000000 00000000  1000        0 31337 1 0 100 0 0 10 0\n",
        "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   0: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 42 1 0 100 0 0 10 0\n",
        "Num       RefCount Protocol Flags    Type St Inode Path\n0: 00000002 00000000 00010000 0001 01 31337 /run/a b\n0: 00000003 00000000 00000000 0001 03 7 @x\n",
        "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n0 0   1234 00000551 0 0 0 2 0 31337\n",
        "0 0x3 0x7fdc0a34e000 0x20000 0x0 0xffffffff 0x0 0x7ffd8152a7d8 0x7fdc0a4ca2ad\n",
        "0::/kubepods.slice/kubepods-pod12345678_1234_1234_1234_123456789abc.slice/cri-containerd-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.scope\n",
        "3:cpu:/\n2:pids:/kubepods/pod12345678-1234-1234-1234-123456789abc/0123456789abcdef0123456789abcdef\n",
        "0::/system.slice/containerd.service/x:cri-containerd:0123456789abcdef0123456789abcdef\n",
        "0::/machine.slice/machine-my\\x2dbox.scope/payload\n",
        "4:cpu:/lxc/web\n3:cpu:/lxc.payload.web/a\n2:cpu:/x/systemd-nspawn@a.service\n",
        "running\n",
        "-1 0x7ffd8152a7d8 0x7fdc0a4ca2ad\n",
        // Ports of raw sockets are protocols; a state without a name; an inode that two lines have.
        "  sl  local_address\n  1: 0100007F:0001 0200007F:0050 07 00000009:00000003 00:00000000 00000000 0 0 7\n  2: 00000000:0002 00000000:0000 63 0:0 0:0 0 0 0 7\n",
        "Num\n0: 00000002 00000000 00000000 0002 07 7 /a\nb c\n0: 00000002 00000000 00000000 0005 01 9\n0: 00000002 00000000 00000000 0005 02 9 /x\n",
        "sk       RefCnt Type Proto  Iface R Rmem   User   Inode\nffff8880 3      3    0003   2     1 0      0      42\n",
    ];
    let mut seeds: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    // `sock_diag`: a socket with a name, a peer and queues, and the end.
    let attribute = |kind: u16, value: &[u8]| {
        let mut out = [(4 + value.len() as u16).to_le_bytes(), kind.to_le_bytes()].concat();
        out.extend(value);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    };
    let mut body = vec![1, 1, 10, 0];
    body.extend([7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    body.extend(
        [attribute(0, b"/run/x"), attribute(2, &[9, 0, 0, 0]), attribute(4, &[1, 0, 0, 0, 5, 0, 0, 0])].concat(),
    );
    let message = |kind: u16, body: &[u8]| {
        let mut out = (16 + body.len() as u32).to_le_bytes().to_vec();
        out.extend(kind.to_le_bytes());
        out.extend([0; 10]);
        out.extend(body);
        out
    };
    seeds.push([message(20, &body), message(3, &[0; 4])].concat());
    // Datagrams and packets; an abstract name; a peer that has a name; queues of one that does not listen; an error.
    let socket = |kind: u8, state: u8, inode: u8, attributes: &[Vec<u8>]| {
        let head = [&[1, kind, state, 0, inode, 0, 0, 0][..], &[0; 8]].concat();
        message(20, &[head, attributes.concat()].concat())
    };
    let sockets = [
        socket(2, 1, 8, &[attribute(0, b"\0abstract\0x"), attribute(2, &[9, 0, 0, 0])]),
        socket(5, 7, 9, &[attribute(0, b"/run/y\0z"), attribute(4, &[1, 0, 0, 0, 5, 0, 0, 0]), attribute(9, &[1])]),
        socket(7, 1, 10, &[attribute(0, b""), attribute(2, &[1])]),
    ];
    seeds.push([&sockets.concat()[..], &message(2, &[0; 4])].concat());
    seeds
}
