//! `gospy serve`

use std::io;
use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::args::Global;
use super::streams::Streams;
use super::{Exit, Failure};
use crate::report::clean::clean;
use crate::serve::{Address, AddressError, Choice, Pattern, ServeOptions, Token, serve};

pub(super) const SERVE_EXAMPLES: &str = "\
Examples:
  gospy serve --all --listen 127.0.0.1:8974
  gospy serve --name 'payments*' --listen 127.0.0.1:8974 --token-file token
  gospy serve --pid 4242 --listen unix:/run/gospy/sock
  curl --unix-socket /run/gospy/sock http://localhost/pid/4242/metrics

Programs are read when somebody asks, and never stopped. Who may ask: the user who started the server and root, by
a unix socket that is theirs alone or over loopback; and whoever shows the token of --token-file as a bearer token.
Only programs that were chosen, and that gospy may read, are there to ask for.";

#[derive(Args, Debug)]
#[command(group(clap::ArgGroup::new("choice").args(["pid", "name", "all"]).multiple(true).required(true)))]
pub(super) struct ServeArgs {
    /// Serve the program with this pid; may be repeated
    #[arg(help_heading = "Programs", long, short, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pid: Vec<i32>,
    /// Serve programs with this name; * and ? are wildcards
    #[arg(help_heading = "Programs", long, short, value_name = "PATTERN", value_hint = ValueHint::Other)]
    name: Vec<String>,
    /// Serve every Go program that can be read
    #[arg(help_heading = "Programs", long)]
    all: bool,
    /// 127.0.0.1:PORT or unix:PATH
    ///
    /// By default a unix socket, for the same user only: gospy.sock in $XDG_RUNTIME_DIR, or in /run for root.
    #[arg(help_heading = "Access", long, short, value_name = "ADDRESS", value_parser = address)]
    listen: Option<Address>,
    /// Also let in who shows this file's token
    ///
    /// It has to be readable by this user only, and hold 32 characters or more. An address that other machines
    /// can reach takes one.
    #[arg(help_heading = "Access", long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    token_file: Option<PathBuf>,
    /// Also answer to this name in Host
    ///
    /// Loopback's names and the address that is listened on are known.
    #[arg(help_heading = "Access", long, value_name = "NAME", value_hint = ValueHint::Hostname)]
    allow_host: Vec<String>,
}

fn address(text: &str) -> Result<Address, AddressError> {
    text.parse()
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
    let bound = address.bind().map_err(failed)?;
    if let (Some(address), false) = (bound.address(), global.quiet) {
        streams.note(&format!("serving on {address}; end with Ctrl-C"));
    }
    let choice = Choice {
        pids: arguments.pid.clone(),
        names: arguments.name.iter().map(|name| Pattern::new(name)).collect(),
        all: arguments.all,
    };
    let options = ServeOptions { choice, hosts: arguments.allow_host.clone(), token };
    let log: Box<dyn io::Write + Send> = if global.quiet { Box::new(io::sink()) } else { Box::new(io::stderr()) };
    serve(bound, options, log).map_err(failed)?;
    Ok(Exit::Done)
}
