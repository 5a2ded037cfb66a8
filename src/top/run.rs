//! The loop on a terminal: waits for events, applies them, does what they ask for, draws.

use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use super::draw::Theme;
use super::event::{Effect, Event, Leave, Settings};
use super::leaks::LeaksFound;
use super::play::Playhead;
use super::state::State;
use super::terminal::{Listeners, Screen};
use crate::analysis::series::Observed;
use crate::sampling::{Monitor, Sampler};

/// Longest time between two looks at the clock: banners show how long something takes.
const TICK: Duration = Duration::from_millis(500);
/// Events that are taken in before the screen is drawn once.
const BATCH: usize = 256;

/// Writes the program that a snapshot is of to a file, or with `false` the snapshot itself, and says where
/// that is or why it is not.
pub(crate) type Save = Arc<dyn Fn(&Observed, bool) -> Result<PathBuf, String> + Send + Sync>;

/// Looks for leaks in the program that a snapshot is of, or says why it cannot.
pub(crate) type FindLeaks = Arc<dyn Fn(&Observed) -> Result<LeaksFound, String> + Send + Sync>;

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

/// Shows what `sampler` reads on the terminal until it is left; where in a recording it reads is up to `playhead`.
///
/// # Errors
/// Those of the terminal, which is given back in any case.
pub(crate) fn run(
    sampler: Sampler<'static>,
    settings: Settings,
    theme: Theme,
    (save, find_leaks): (Save, FindLeaks),
    playhead: Playhead,
) -> io::Result<Leave> {
    let (sender, messages) = channel::<Message>();
    let reports = sender.clone();
    let monitor = Monitor::start(sampler, move |report| match reports.send(Message::Event(report.into())) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    })?;
    let mut screen = Screen::open()?;
    let listeners = Listeners::start(sender.clone())?;
    let (width, height) = screen.size()?;
    let state = State::new(settings, width, height);
    let mut app = App { state, theme, monitor, sender, save, find_leaks, playhead, started: Instant::now() };
    let outcome = app.run(&mut screen, &messages);
    drop(listeners);
    drop(screen);
    outcome
}

struct App {
    state: State,
    theme: Theme,
    monitor: Monitor,
    sender: Sender<Message>,
    save: Save,
    find_leaks: FindLeaks,
    playhead: Playhead,
    started: Instant,
}

impl App {
    fn run(&mut self, screen: &mut Screen, messages: &Receiver<Message>) -> io::Result<Leave> {
        if let Some(leave) = self.apply(Event::Tick, screen)? {
            return Ok(leave);
        }
        loop {
            if self.monitor.has_ended() {
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
                Effect::Read => self.monitor.read(self.state.looked_at()),
                Effect::Seek(seek) => self.playhead.seek(seek),
                Effect::Redraw => screen.clear()?,
                Effect::Suspend => {
                    screen.suspend()?;
                    let (width, height) = screen.size()?;
                    let _ = self.sender.send(Event::Resize(width, height).into());
                }
                Effect::Save { shown, live } => {
                    let (sender, save) = (self.sender.clone(), Arc::clone(&self.save));
                    // A large program takes a while to write.
                    self.aside(
                        "gospy-writer",
                        |error| Event::Saved(Err(error)),
                        move || {
                            let saved = save(&shown, live).map(|path| path.display().to_string());
                            let _ = sender.send(Event::Saved(saved).into());
                        },
                    );
                }
                Effect::FindLeaks { shown, run } => {
                    let (sender, find) = (self.sender.clone(), Arc::clone(&self.find_leaks));
                    self.aside(
                        "gospy-leaks",
                        |error| Event::Leaks(run, Err(error)),
                        move || {
                            let found = find(&shown).map(Arc::new);
                            let _ = sender.send(Event::Leaks(run, found).into());
                        },
                    );
                }
                Effect::Leave(leave) => return Ok(Some(leave)),
            }
        }
        Ok(None)
    }

    /// Does what takes long on a thread of its own. Where there can be none, that is what has come of it.
    fn aside(&self, name: &str, refused: impl FnOnce(String) -> Event, work: impl FnOnce() + Send + 'static) {
        if let Err(error) = std::thread::Builder::new().name(name.to_owned()).spawn(work) {
            let _ = self.sender.send(refused(format!("no thread can be started: {error}")).into());
        }
    }
}
