//! `gospy serve`, and requests to it.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A server that runs until dropped.
pub struct Server {
    child: Child,
    /// Where it listens: `127.0.0.1:PORT`, or the path of a socket.
    pub address: String,
    log: Arc<Mutex<String>>,
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.into_iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

impl Server {
    /// On a port that is free, over loopback.
    pub fn start(arguments: &[&str]) -> Server {
        Server::start_with(&[arguments, &["--listen", "127.0.0.1:0"]].concat(), |_| ())
    }

    /// As it is told, with a last say over the command.
    pub fn start_with(arguments: &[&str], adjust: impl FnOnce(&mut Command)) -> Server {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gospy"));
        command.arg("serve").args(arguments);
        adjust(&mut command);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let first = lines.next().expect("it says where it listens").unwrap();
        let address = first.strip_prefix("gospy: serving on ").unwrap_or_else(|| panic!("{first}"));
        let address = address.split(';').next().unwrap();
        let address = address.strip_prefix("http://").or(address.strip_prefix("unix:")).unwrap().to_owned();
        let log = Arc::new(Mutex::new(String::new()));
        let written = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                written.lock().unwrap().push_str(&format!("{line}\n"));
            }
        });
        Server { child, address, log }
    }

    pub fn pid(&self) -> i32 {
        self.child.id().try_into().unwrap()
    }

    /// What it has written about requests so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// An answer to GET.
    pub fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, &[("Host", "localhost")])
    }

    /// The body of an answer that has to be there.
    pub fn body(&self, path: &str) -> String {
        let reply = self.get(path);
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        reply.body
    }

    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
        let fields: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let answer = self.send(format!("{method} {path} HTTP/1.1\r\n{fields}Connection: close\r\n\r\n").as_bytes());
        parse(&answer).unwrap_or_else(|| panic!("no answer to {path}: {answer:?}"))
    }

    /// Sends bytes, and gives everything that comes back.
    pub fn send(&self, request: &[u8]) -> String {
        let mut answer = Vec::new();
        let mut stream = self.connect();
        // A server that has seen enough closes the connection while it is written to.
        let _ = stream.write_all(request).and_then(|()| stream.read_to_end(&mut answer).map(drop));
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// A connection to it.
    pub fn connect(&self) -> Box<dyn Stream> {
        const PATIENCE: Option<Duration> = Some(Duration::from_secs(30));
        if self.address.starts_with('/') {
            let stream = UnixStream::connect(&self.address).unwrap();
            stream.set_read_timeout(PATIENCE).unwrap();
            return Box::new(stream);
        }
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(PATIENCE).unwrap();
        Box::new(stream)
    }
}

pub trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

fn parse(answer: &str) -> Option<Reply> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Reply { status, head: head.to_owned(), body: body.to_owned() })
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A file with a token that only its owner may read.
pub fn token_file(directory: &Path, token: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let path = directory.join("token");
    std::fs::write(&path, token).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// An HTTP answer whose body is no text.
#[derive(Debug)]
pub struct Fetched {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Fetched {
    pub fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.into_iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Of a body that is gzipped itself, and not for the way.
    pub fn unpacked(&self) -> Vec<u8> {
        let mut out = Vec::new();
        flate2::read::GzDecoder::new(&self.body[..]).read_to_end(&mut out).unwrap();
        out
    }
}

/// An answer to GET of a server at `address`, as it comes over HTTP/1.0: without chunks.
pub fn fetch(address: &str, path: &str) -> Fetched {
    fetch_with(address, path, "")
}

/// The same, with more lines in the head.
pub fn fetch_with(address: &str, path: &str, more: &str) -> Fetched {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n{more}\r\n").as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = memchr::memmem::find(&answer, b"\r\n\r\n").unwrap_or_else(|| panic!("no answer to {path}"));
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Fetched { status, head, body: answer[end + 4..].to_vec() }
}
