//! The other ends of the connections that goroutines wait for, against the kernel's own tables.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};

use crate::support::real::{Real, prometheus};
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

/// A connection that stays open after a request: the server waits for the next one.
fn keep_alive(real: &Real) -> TcpStream {
    let mut stream = TcpStream::connect(real.address()).unwrap();
    write!(stream, "GET /-/ready HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    stream
}

#[test]
fn peers_of_a_real_server_are_those_that_the_kernel_lists() {
    let real = prometheus();
    let clients: Vec<TcpStream> = (0..50).map(|_| keep_alive(&real)).collect();
    let pid = real.running.pid();
    // All of them wait for the next request at last.
    let network = until("all connections to wait", || {
        let document = gospy(&["stack", "--json", "--pid", &pid.to_string()]).json();
        let list = document["goroutines"]["list"].as_array().unwrap();
        let network = list.iter().filter(|goroutine| goroutine["waiting_on"]["kind"] == "network");
        let network: Vec<Value> = network.map(|goroutine| goroutine["waiting_on"].clone()).collect();
        (network.len() > clients.len() && network.iter().all(|wait| wait["fd"].is_number())).then_some(network)
    });
    let mut tally = Tally::new("prometheus");
    let kernels = table(pid);
    let mut peers = Vec::new();
    for wait in &network {
        let fd = wait["fd"].as_u64().unwrap();
        let link = std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).unwrap();
        let inode = link.to_str().unwrap().trim_start_matches("socket:[").trim_end_matches(']').to_owned();
        let Some((local, remote, state)) = kernels.get(&inode) else { continue };
        tally.equal(format!("the address of {fd}"), local.to_string(), wait["local"].as_str().unwrap_or("none"));
        let (state, remote) = match state {
            1 => ("ESTABLISHED", Some(remote.to_string())),
            10 => ("LISTEN", None),
            other => panic!("a state that nothing here makes: {other}"),
        };
        tally.equal(format!("the state of {fd}"), state, wait["socket_state"].as_str().unwrap_or("none"));
        tally.equal(format!("the peer of {fd}"), remote.as_deref(), wait["remote"].as_str());
        peers.extend(remote);
    }
    // And by those who are there.
    for client in &clients {
        let own = client.local_addr().unwrap().to_string();
        tally.holds(format!("{own} is waited for"), peers.contains(&own));
    }
    tally.check(200);
}
