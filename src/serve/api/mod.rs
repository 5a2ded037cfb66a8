//! What the commands answer, over HTTP: the same documents as `--json`, with the same schemas.
//!
//! | path | answer |
//! |---|---|
//! | `/api/v1/processes` | the programs that are served |
//! | `/api/v1/pid/PID/NAME` | what a command answers: see [`routes::ROUTES`] |
//! | `/api/v1/pid/PID/events` | changes as they come: see [`events`] |
//! | `/api/v1/name/NAME/…` | the same by name, where only one program has it |
//! | `/api/v1/openapi.json` | all of this, for machines |
//!
//! A command is run as the command line runs it; nothing about goroutines is decided here. Its answer is sent while
//! it is written, so that the largest takes no more memory than a small one.

mod events;
mod openapi;
mod routes;

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use axum::http::StatusCode;

use super::answer::{Answer, JSON};
use super::call::Call;
use super::commands::{CommandRun, Outcome, RunCommand};
use super::places::Places;
use super::routes::{NO_PID, NOTHING};
use super::targets::{Program, Targets};
use events::Events;
use routes::{PROCESSES, ROUTES};

/// Commands that run at the same time.
const RUNNING: usize = 32;
/// Bytes of a document that are sent together.
const PIECE: usize = 64 * 1024;
/// Such pieces that wait to be sent.
const PIECES: usize = 4;
/// A document that is no larger is sent whole, and has a length.
const WHOLE: usize = 4 * PIECE;
/// Most bytes of an error's text.
const ERROR: usize = 4 * 1024;
/// How often it is checked whether the caller still waits for the answer.
const OFTEN: Duration = Duration::from_millis(200);

/// The API.
pub(super) struct Api {
    commands: Option<RunCommand>,
    running: Places,
    events: Events,
}

impl Api {
    pub(super) fn new(commands: Option<RunCommand>, streams: Arc<Places>) -> Self {
        Self { commands, running: Places::new(RUNNING), events: Events::new(streams) }
    }

    /// Answers; `path` is what comes after `/api/v1`.
    pub(super) fn answer(&self, targets: &Targets, call: &Call, path: &[&str]) -> Result<Answer, Answer> {
        match path {
            ["openapi.json"] => Ok(Answer::written(JSON, |body| openapi::write(body))),
            ["processes"] => {
                let arguments = PROCESSES.arguments(None, &call.query::<Vec<_>>()?)?;
                self.run(call, targets.all(), arguments).map_err(|refused| refused.answer)
            }
            [by @ ("pid" | "name"), which, "events"] => {
                let rate = call.query::<events::Rate>()?;
                let program = targets.one(by, which)?;
                self.events.listen(targets, program, rate)
            }
            [by @ ("pid" | "name"), which, name] => {
                let route = ROUTES.iter().find(|route| route.name == *name).ok_or_else(|| Answer::absent(NOTHING))?;
                let program = targets.one(by, which)?;
                let arguments = route.arguments(Some(program.process.pid), &call.query::<Vec<_>>()?)?;
                let run = self.run(call, vec![Arc::clone(&program)], arguments);
                run.map_err(|refused| refused.about(targets, &program))
            }
            _ => Err(Answer::absent(NOTHING)),
        }
    }

    /// Runs a command on a thread of its own, and answers with what it writes.
    fn run(&self, call: &Call, programs: Vec<Arc<Program>>, arguments: Vec<String>) -> Result<Answer, Refused> {
        let Some(run) = self.commands else { return Err(Answer::absent(NOTHING).into()) };
        let Some(place) = self.running.take() else {
            let busy = "the server answers too many requests at the moment";
            return Err(Answer::text(StatusCode::SERVICE_UNAVAILABLE, busy).into());
        };
        let (sender, receiver) = sync_channel(PIECES);
        let spawned = std::thread::Builder::new().name("gospy-command".to_owned()).spawn(move || {
            let _place = place;
            let (mut out, mut err) = (Pieces(sender.clone()), Bounded(Vec::new()));
            let run_it = CommandRun { programs: &programs, arguments: &arguments, out: &mut out, err: &mut err };
            let outcome = run(run_it);
            // The caller may have gone.
            let _ = sender.send(Piece::End(outcome, err.0));
        });
        if spawned.is_err() {
            return Err(Answer::failed().into());
        }
        let mut body = Vec::new();
        loop {
            match receiver.recv_timeout(OFTEN) {
                Ok(Piece::Bytes(bytes)) => body.extend_from_slice(&bytes),
                Ok(Piece::End(outcome, err)) => return finished(outcome, body, &err),
                Err(RecvTimeoutError::Timeout) if !call.is_abandoned() => {}
                Err(_) => return Err(Answer::failed().into()),
            }
            if body.len() > WHOLE {
                return Ok(Answer::streamed(JSON, move |out| go_on(&body, &receiver, out)));
            }
        }
    }
}

/// An error, and whether the program has ended.
struct Refused {
    answer: Answer,
    is_gone: bool,
}

impl Refused {
    /// The error; a program that has ended is forgotten.
    fn about(self, targets: &Targets, program: &Arc<Program>) -> Answer {
        if self.is_gone {
            targets.forget(program);
        }
        self.answer
    }
}

impl From<Answer> for Refused {
    fn from(answer: Answer) -> Self {
        Self { answer, is_gone: false }
    }
}

/// The answer of a command that has ended.
fn finished(outcome: Outcome, body: Vec<u8>, err: &[u8]) -> Result<Answer, Refused> {
    match outcome {
        Outcome::Gone => Err(Refused { answer: Answer::absent(NO_PID), is_gone: true }),
        // What it said besides concerns a part of it.
        _ if !body.is_empty() => Ok(Answer::ok(JSON, body)),
        Outcome::Usage => Err(routes::bad(sentence(err)).into()),
        Outcome::Done | Outcome::Failed => Err(Answer::absent(&sentence(err)).into()),
    }
}

/// What a command said went wrong, without what concerns a command line only.
fn sentence(err: &[u8]) -> String {
    let text = String::from_utf8_lossy(err);
    let text = text.trim_start_matches("gospy: ").trim_start_matches("error: ");
    let end = text.find("\n\n").unwrap_or(text.len());
    text.get(..end).unwrap_or(text).trim_end().to_owned()
}

fn go_on(begun: &[u8], rest: &Receiver<Piece>, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(begun)?;
    for piece in rest {
        match piece {
            Piece::Bytes(bytes) => out.write_all(&bytes)?,
            Piece::End(Outcome::Gone, _) => break,
            Piece::End(..) => return Ok(()),
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

/// A part of what a command writes.
enum Piece {
    Bytes(Vec<u8>),
    End(Outcome, Vec<u8>),
}

/// Where a command writes: it waits while nobody reads, and ends when nobody is left.
struct Pieces(SyncSender<Piece>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let part = bytes.get(..bytes.len().min(PIECE)).unwrap_or(bytes);
        let sent = self.0.send(Piece::Bytes(part.to_vec()));
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Keeps the first bytes that are written.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = ERROR.saturating_sub(self.0.len());
        self.0.extend(bytes.iter().take(room));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_lose_what_concerns_a_command_line() {
        let clap =
            b"error: invalid value 'x' for '--limit <N>': invalid digit\n\nFor more information, try '--help'.\n";
        assert_eq!(sentence(clap), "invalid value 'x' for '--limit <N>': invalid digit");
        assert_eq!(sentence(b"gospy: there is no goroutine 9\n"), "there is no goroutine 9");
    }

    #[test]
    fn a_command_ends_when_nobody_reads() {
        let (sender, receiver) = sync_channel(1);
        let mut out = Pieces(sender);
        assert_eq!(out.write(&vec![0; PIECE + 1]).unwrap(), PIECE);
        drop(receiver);
        assert_eq!(out.write(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
