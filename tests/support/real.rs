//! Programs that others have released; see `fixtures/real`.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::fixture::script;
use super::process::Running;

const READY: Duration = Duration::from_secs(60);

/// The names and the Go versions that they were built with.
pub const PROGRAMS: [(&str, &str); 6] = [
    ("prometheus", "1.19"),
    ("buf", "1.27.3"),
    ("tsgo", "1.26.4"),
    ("esbuild", "1.26.5"),
    ("esbuild-1.20", "1.20.4"),
    ("esbuild-1.18", "1.18.1"),
];

/// The path of a program, which is fetched if that was not done before.
pub fn path(name: &str) -> PathBuf {
    script("real", &[name])
}

/// A released program that runs until dropped.
pub struct Real {
    pub running: Running,
    /// Where it serves HTTP, if it does.
    pub address: Option<SocketAddr>,
    // Its data; removed after it was killed, as fields are dropped in order.
    directory: TempDir,
}

impl Real {
    pub fn start(name: &str) -> Real {
        Real::start_with(name, &[])
    }

    /// Prometheus with a configuration.
    pub fn prometheus_with(config: &str) -> Real {
        Real::start_configured("prometheus", &[], |_| config.to_owned())
    }

    /// With variables for the program: `GOTRACEBACK`, `GODEBUG` and such.
    pub fn start_with(name: &str, variables: &[(&str, &str)]) -> Real {
        Real::start_configured(name, variables, |_| String::new())
    }

    /// Prometheus that scrapes itself once a second under so many names, so that it has data.
    pub fn start_prometheus_with_data(names: u32) -> Real {
        Real::start_configured("prometheus", &[], |at| {
            let mut config = String::new();
            for job in 0..names {
                config += if job == 0 { "scrape_configs:\n" } else { "" };
                config += &format!("- job_name: own{job}\n  scrape_interval: 1s\n  scrape_timeout: 1s\n");
                config += &format!("  static_configs: [{{ targets: ['{at}'] }}]\n");
            }
            config
        })
    }

    /// etcd with so many keys, each with a kibibyte.
    pub fn start_etcd_with_data(keys: u32) -> Real {
        let real = Real::start("etcd");
        for key in 0..keys {
            put(real.address(), key);
        }
        real
    }

    /// Prometheus scrapes no more from now on, and keeps the data that it has.
    pub fn stop_scraping(&self) {
        std::fs::write(self.directory.path().join("prometheus.yml"), "").unwrap();
        self.running.signal(nix::sys::signal::Signal::SIGHUP);
    }

    /// `config` is what Prometheus is told that listens at an address.
    fn start_configured(name: &str, variables: &[(&str, &str)], config: impl Fn(SocketAddr) -> String) -> Real {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(path(name));
        command.current_dir(directory.path()).env("HOME", directory.path());
        command.envs(variables.iter().copied());
        let mut address = None;
        match name {
            "prometheus" => {
                let at = free_address();
                std::fs::write(directory.path().join("prometheus.yml"), config(at)).unwrap();
                command.arg("--config.file=prometheus.yml").arg("--storage.tsdb.path=data");
                command.arg(format!("--web.listen-address={at}"));
                address = Some(at);
            }
            "etcd" => {
                let (at, peers) = (free_address(), free_address());
                command.args(["--data-dir=data", "--enable-pprof", "--logger=zap", "--log-level=error"]);
                for url in ["--listen-client-urls", "--advertise-client-urls"] {
                    command.arg(format!("{url}=http://{at}"));
                }
                for url in ["--listen-peer-urls", "--initial-advertise-peer-urls", "--initial-cluster=default"] {
                    command.arg(format!("{url}=http://{peers}"));
                }
                address = Some(at);
            }
            "buf" => {
                command.args(["lsp", "serve"]);
            }
            "tsgo" => {
                command.args(["--lsp", "--stdio"]);
            }
            _ => {
                let at = free_address();
                // A line for each request would be in the way of what the runtime says.
                command.arg(format!("--serve={at}")).arg("--servedir=.").arg("--log-level=error");
                address = Some(at);
            }
        }
        let mut real = Real { running: Running::spawn(command), address, directory };
        real.wait_ready(match name {
            "prometheus" => "/-/ready",
            "etcd" => "/health",
            _ => "/",
        });
        real
    }

    /// buf as a server of HTTP, which answers every GET.
    pub fn start_buf_agent() -> Real {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(path("buf"));
        let at = free_address();
        command.current_dir(directory.path()).env("HOME", directory.path());
        command.args(["beta", "studio-agent", "--timeout=0", "--log-format=text"]);
        command.arg(format!("--bind={}", at.ip())).arg(format!("--port={}", at.port()));
        let mut real = Real { running: Running::spawn(command), address: Some(at), directory };
        real.wait_ready("/");
        real
    }

    /// esbuild, which looks ten times a second whether a file has changed.
    pub fn start_watching(name: &str, variables: &[(&str, &str)]) -> Real {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("in.js"), "").unwrap();
        let mut command = Command::new(path(name));
        command.current_dir(directory.path()).env("HOME", directory.path());
        command.envs(variables.iter().copied()).args(["in.js", "--watch", "--outfile=out.js", "--log-level=error"]);
        let out = directory.path().join("out.js");
        let real = Real { running: Running::spawn(command), address: None, directory };
        let deadline = Instant::now() + READY;
        while !out.exists() {
            assert!(Instant::now() < deadline, "not ready within {READY:?}");
            sleep(Duration::from_millis(50));
        }
        real
    }

    fn wait_ready(&mut self, path: &str) {
        if self.address.is_none() {
            self.running.greet_language_server();
            return;
        }
        let deadline = Instant::now() + READY;
        while !self.try_get(path).is_some_and(|answer| answer.starts_with("HTTP/1.0 200")) {
            assert!(Instant::now() < deadline, "not ready within {READY:?}");
            sleep(Duration::from_millis(50));
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address.expect("it listens")
    }

    /// The body of an HTTP answer.
    pub fn get(&self, path: &str) -> String {
        let answer = self.try_get(path).unwrap_or_else(|| panic!("no answer for {path}"));
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.0 200"), "{path}: {head}");
        body.to_owned()
    }

    fn try_get(&self, path: &str) -> Option<String> {
        get(self.address?, path)
    }
}

// HTTP/1.0, so that the answer ends with the connection and is not in chunks.
fn get(address: SocketAddr, path: &str) -> Option<String> {
    ask(address, &format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n"))
}

fn ask(address: SocketAddr, request: &str) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, READY).ok()?;
    stream.set_read_timeout(Some(READY)).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer).into_owned())
}

/// Whether a request is answered with success.
pub fn answers(address: SocketAddr, path: &str) -> bool {
    get(address, path).is_some_and(|answer| answer.starts_with("HTTP/1.0 200"))
}

/// Puts one of etcd's keys.
pub fn put(address: SocketAddr, key: u32) {
    // "key" and its number, and 1026 times the same letter, in base 64; both have a length that needs no padding.
    let key = format!("a2V5{key:08}");
    let body = format!(r#"{{"key":"{key}","value":"{}"}}"#, "eHh4".repeat(342));
    let head = "POST /v3/kv/put HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    let answer = ask(address, &request).unwrap();
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
}

/// Prometheus, with nothing to scrape. Its pprof handlers are the oracle:
/// `prometheus().get("/debug/pprof/goroutine?debug=2")`.
pub fn prometheus() -> Real {
    Real::start("prometheus")
}

fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}
