//! The loop on a terminal: waits for events, applies them, does what they ask for, draws.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use super::draw::Theme;
use super::source::{SnapshotSource, Successor};
use super::state::{Effect, Event, Leave, Settings, State};
use super::terminal::{Listeners, Screen};
use super::watch::Observed;
use super::worker::Worker;
use crate::analysis::Index;
use crate::report::json::{self, JsonOptions};

/// Longest time between two looks at the clock: banners tell how long something takes.
const TICK: Duration = Duration::from_millis(500);
/// Events that are taken in before the screen is drawn once.
const BATCH: usize = 256;

enum Message {
    Event(Event),
    Failed(io::Error),
}

impl From<Event> for Message {
    fn from(event: Event) -> Self {
        Self::Event(event)
    }
}

impl From<io::Error> for Message {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

/// Shows `source` on the terminal until somebody leaves.
///
/// # Errors
/// Those of the terminal, which is given back in any case.
pub fn run(
    source: Box<dyn SnapshotSource>,
    successor: Option<Box<dyn Successor>>,
    settings: Settings,
    theme: Theme,
) -> io::Result<Leave> {
    let (sender, messages) = channel::<Message>();
    let worker = Worker::start(source, successor, sender.clone())?;
    let mut screen = Screen::open()?;
    let listeners = Listeners::start(sender.clone())?;
    let (width, height) = screen.size()?;
    let state = State::new(settings, width, height);
    let outcome = App { state, theme, worker, sender, started: Instant::now() }.run(&mut screen, &messages);
    drop(listeners);
    drop(screen);
    outcome
}

struct App {
    state: State,
    theme: Theme,
    worker: Worker,
    sender: Sender<Message>,
    started: Instant,
}

impl App {
    fn run(&mut self, screen: &mut Screen, messages: &Receiver<Message>) -> io::Result<Leave> {
        if let Some(leave) = self.apply(Event::Tick, screen)? {
            return Ok(leave);
        }
        loop {
            if self.worker.has_ended() {
                return Err(io::Error::other("the thread that reads has ended"));
            }
            screen.draw(&self.state, self.theme)?;
            let wake = self.state.wake_at().map_or(TICK, |at| at.saturating_sub(self.started.elapsed()).min(TICK));
            let mut message = match messages.recv_timeout(wake) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => Message::Event(Event::Tick),
                Err(RecvTimeoutError::Disconnected) => return Ok(Leave::Done),
            };
            // Keys that are held down come faster than they can be drawn.
            for _ in 0..BATCH {
                match message {
                    Message::Event(event) => {
                        if let Some(leave) = self.apply(event, screen)? {
                            screen.draw(&self.state, self.theme)?;
                            return Ok(leave);
                        }
                    }
                    Message::Failed(error) => return Err(error),
                }
                match messages.try_recv() {
                    Ok(next) => message = next,
                    Err(_) => break,
                }
            }
        }
    }

    fn apply(&mut self, event: Event, screen: &mut Screen) -> io::Result<Option<Leave>> {
        for effect in self.state.apply(self.started.elapsed(), event) {
            match effect {
                Effect::Read => self.worker.read(),
                Effect::Redraw => screen.clear()?,
                Effect::Suspend => {
                    screen.suspend()?;
                    let (width, height) = screen.size()?;
                    let _ = self.sender.send(Event::Resize(width, height).into());
                }
                Effect::Save(observed) => {
                    let sender = self.sender.clone();
                    // A large snapshot takes a while to write.
                    std::thread::Builder::new().name("gospy-writer".to_owned()).spawn(move || {
                        let saved = save(&observed).map(|path| path.display().to_string());
                        let _ = sender.send(Event::Saved(saved.map_err(|error| error.to_string())).into());
                    })?;
                }
                Effect::Leave(leave) => return Ok(Some(leave)),
            }
        }
        Ok(None)
    }
}

/// Writes a snapshot as JSON into the current directory. It never writes over a file.
fn save(observed: &Observed) -> io::Result<PathBuf> {
    let snapshot = observed.as_read();
    let time = jiff::Timestamp::from_nanosecond(i128::from(snapshot.captured_at_unix_ns)).unwrap_or_default();
    let stamp = time.strftime("%Y%m%dT%H%M%SZ");
    for attempt in 1..=99 {
        let again = if attempt == 1 { String::new() } else { format!("-{attempt}") };
        let path = PathBuf::from(format!("gospy-{}-{stamp}{again}.json", snapshot.target.pid));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => {
                let index = Index::new(&snapshot);
                let all: Vec<usize> = (0..snapshot.goroutines.len()).collect();
                let mut out = BufWriter::new(file);
                json::write(&mut out, &index, &all, &JsonOptions { frames: true, ..JsonOptions::default() })?;
                out.flush()?;
                return Ok(path);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "there are too many files of this second"))
}
