//! `gospy serve`

use std::io;
use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::args::Global;
use super::source::{Location, SourceFailure};
use super::streams::Streams;
use super::{Exit, Failure, served};
use crate::capture::{OpenOptions, Session, SourceError};
use crate::process::live::LiveTarget;
use crate::process::{Target as _, TargetError};
use crate::report::clean::clean;
use crate::serve::{Address, AddressError, Choice, Pattern, Prepared, RunCommand, ServeOptions, Token};

pub(super) const SERVE_EXAMPLES: &str = "\
Examples:
  gospy serve --all --listen 127.0.0.1:8974
  gospy serve --name 'payments*' --listen 127.0.0.1:8974 --token-file token
  gospy serve --pid 4242 --listen unix:/run/gospy/sock
  curl --unix-socket /run/gospy/sock http://localhost/pid/4242/metrics

A program is read only while a request for it is answered, and is never stopped. Requests are accepted from the user
who started the server and from root, over a unix socket with mode 0600 or over loopback, and with the token of
--token-file as a bearer token. Only the chosen programs are served.";

/// Which programs a server is for.
#[derive(Args, Debug)]
#[command(next_help_heading = "Programs")]
pub(super) struct ChoiceArgs {
    /// The program with this pid; may be repeated
    #[arg(long, short, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pid: Vec<i32>,
    /// Programs with this name; * and ? are wildcards
    #[arg(long, short, value_name = "PATTERN", value_hint = ValueHint::Other)]
    name: Vec<String>,
    /// Every Go program that can be read
    #[arg(long)]
    all: bool,
}

impl ChoiceArgs {
    /// Whether none was named.
    pub(super) fn is_open(&self) -> bool {
        self.pid.is_empty() && self.name.is_empty()
    }

    /// The programs that are meant, or all with `all`; those with a pid have to be there now.
    pub(super) fn choice(&self, all: bool) -> Result<Choice, Failure> {
        let pids = self.pid.iter().map(|pid| {
            let location = Location::Process(*pid);
            started(*pid).map_err(|error| SourceFailure::at(&location, error).into())
        });
        let pids = pids.collect::<Result<_, Failure>>()?;
        let names = self.name.iter().map(|name| Pattern::new(name)).collect();
        Ok(Choice { pids, names, all: all || self.all })
    }
}

#[derive(Args, Debug)]
#[command(group(clap::ArgGroup::new("choice").args(["pid", "name", "all"]).multiple(true).required(true)))]
pub(super) struct ServeArgs {
    #[command(flatten)]
    programs: ChoiceArgs,
    /// 127.0.0.1:PORT or unix:PATH
    ///
    /// By default a unix socket, for the same user only: gospy.sock in $XDG_RUNTIME_DIR, or in /run for root.
    #[arg(help_heading = "Access", long, short, value_name = "ADDRESS", value_parser = address)]
    listen: Option<Address>,
    /// Also accept requests with the token in this file
    ///
    /// The file must be readable by this user only, and the token must have 32 characters or more. An address that
    /// other machines can reach requires one.
    #[arg(help_heading = "Access", long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    token_file: Option<PathBuf>,
    /// Also accept this name in Host
    ///
    /// Names of loopback and the listen address are always accepted.
    #[arg(help_heading = "Access", long, value_name = "NAME", value_hint = ValueHint::Hostname)]
    allow_host: Vec<String>,
}

fn address(text: &str) -> Result<Address, AddressError> {
    text.parse()
}

/// When a program that can be read was started: what has its pid later is another one.
fn started(pid: i32) -> Result<(i32, u64), SourceError> {
    let target = LiveTarget::open(pid)?;
    let ticks = target.process().start_ticks.ok_or(TargetError::NoSuchProcess { pid })?;
    Session::open(Box::new(target), &OpenOptions::default())?;
    Ok((pid, ticks))
}

pub(super) fn run(arguments: &ServeArgs, global: &Global, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
    let failed = |error: crate::serve::ServeError| Failure::new(Exit::Error, error.to_string());
    let address = arguments.listen.clone().or_else(Address::usual).ok_or_else(|| {
        let message = "there is no XDG_RUNTIME_DIR for the socket: say --listen unix:PATH, or --listen 127.0.0.1:8974";
        Failure::new(Exit::Usage, message)
    })?;
    let token = match &arguments.token_file {
        Some(path) => Some(Token::read(path).map_err(|error| {
            Failure::new(
                Exit::Error,
                format!("cannot use the token in {}: {error}", clean(&path.display().to_string())),
            )
        })?),
        None => None,
    };
    if token.is_none() && !address.is_local() {
        return Err(failed(crate::serve::ServeError::Exposed { address: address.to_string() }));
    }
    let choice = arguments.programs.choice(false)?;
    let prepared = Prepared::new().map_err(failed)?;
    let bound = address.bind().map_err(failed)?;
    if let (Some(address), false) = (bound.address(), global.quiet) {
        streams.note(&format!("serving on {address}; end with Ctrl-C"));
    }
    let is_terminal = streams.err_is_terminal && !global.quiet;
    let commands = Some(served::run as RunCommand);
    let options = ServeOptions { choice, hosts: arguments.allow_host.clone(), token, is_terminal, commands };
    let log: Box<dyn io::Write + Send> = if global.quiet { Box::new(io::sink()) } else { Box::new(io::stderr()) };
    prepared.serve(bound, options, log).map_err(failed)?;
    Ok(Exit::Done)
}
