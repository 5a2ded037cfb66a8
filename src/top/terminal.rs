//! The terminal: taken over, given back whatever happens, and a thread for keys and one for
//! signals.

use std::io::{self, Stdout, Write, stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use crossterm::cursor::Show;
use crossterm::event::Event as Input;
use crossterm::terminal::{
    BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode,
    enable_raw_mode,
};
use crossterm::{event, execute, queue};
use nix::sys::signal::{Signal, raise};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGTSTP};
use signal_hook::iterator::{Handle, Signals};

use super::draw::{Theme, draw};
use super::event::Event;
use super::state::State;
use crate::process::await_none_held;

/// How often the thread for keys looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(250);

/// Whether the terminal is taken over right now. A panic can happen on any thread at any time, and
/// its hook has to know.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Standard output while the terminal is taken over; nothing afterwards. `Terminal` shows the cursor when it is dropped,
/// and panics if it cannot say that this failed: with the terminal closed, standard error often is too.
struct Output(Stdout);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if TAKEN.load(Ordering::SeqCst) { self.0.write(bytes) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        if TAKEN.load(Ordering::SeqCst) { self.0.flush() } else { Ok(()) }
    }
}

/// The terminal while it is taken over; dropping it gives it back.
pub(crate) struct Screen {
    terminal: Terminal<CrosstermBackend<Output>>,
}

impl Screen {
    /// Takes over the terminal. From here on a panic gives it back before it says anything.
    ///
    /// # Errors
    /// When standard output is no terminal, or it refuses.
    pub(crate) fn open() -> io::Result<Self> {
        restore_on_panic();
        take()?;
        let terminal = Terminal::new(CrosstermBackend::new(Output(stdout()))).inspect_err(|_| give_back())?;
        Ok(Self { terminal })
    }

    /// Its size: columns, lines.
    ///
    /// # Errors
    /// When it does not say.
    pub(crate) fn size(&self) -> io::Result<(u16, u16)> {
        let size = self.terminal.size()?;
        Ok((size.width, size.height))
    }

    /// Draws.
    ///
    /// # Errors
    /// Those of the terminal.
    pub(crate) fn draw(&mut self, state: &State, theme: Theme) -> io::Result<()> {
        if !TAKEN.load(Ordering::SeqCst) {
            // Some other thread has panicked; what it says is not to be drawn over.
            return Err(io::Error::other("the terminal was given back"));
        }
        // Terminals that know these marks show the view in one go; the others ignore them.
        queue!(stdout(), BeginSynchronizedUpdate)?;
        let drawn = self.terminal.draw(|frame| draw(frame, state, theme)).map(|_| ());
        execute!(stdout(), EndSynchronizedUpdate)?;
        drawn
    }

    /// Forgets what is on it, so that everything is drawn again.
    ///
    /// # Errors
    /// Those of the terminal.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        // Not `Terminal::clear`: that asks the terminal where the cursor is, and the answer would go
        // to the thread that reads keys.
        let size = self.terminal.size()?;
        self.terminal.resize(size.into())
    }

    /// Gives the terminal back and stops this process, as Ctrl-Z does with other programs. Returns
    /// once it is continued, with the terminal taken over again.
    ///
    /// # Errors
    /// Those of the terminal.
    pub(crate) fn suspend(&mut self) -> io::Result<()> {
        // What another thread of this process has frozen is not to wait for the continuation.
        await_none_held(FROZEN);
        give_back();
        raise(Signal::SIGSTOP)?;
        take()?;
        self.clear()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn take() -> io::Result<()> {
    enable_raw_mode()?;
    TAKEN.store(true, Ordering::SeqCst);
    execute!(stdout(), EnterAlternateScreen).inspect_err(|_| give_back())
}

/// Longest wait for the end of a freeze before this process stops: they take milliseconds.
const FROZEN: Duration = Duration::from_secs(2);

/// Whatever fails here, the rest is still tried.
fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        let _ = execute!(stdout(), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
        let _ = stdout().flush();
    }
}

fn restore_on_panic() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            before(panic);
        }));
    });
}

/// The threads that wait for keys and signals. They end when this is dropped.
#[derive(Debug)]
pub(crate) struct Listeners {
    stop: Arc<AtomicBool>,
    signals: Handle,
}

impl Listeners {
    /// Starts them. What happens goes to `events`; so does the failure of the terminal, as `Err`.
    ///
    /// # Errors
    /// When there can be no thread, or no handler for signals.
    pub(crate) fn start<E>(events: Sender<E>) -> io::Result<Self>
    where
        E: From<Event> + From<io::Error> + Send + 'static,
    {
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGTSTP])?;
        let handle = signals.handle();
        let to_main = events.clone();
        std::thread::Builder::new().name("gospy-signals".to_owned()).spawn(move || {
            for signal in signals.forever() {
                let event = if signal == SIGTSTP { Event::Stop } else { Event::Terminate(signal) };
                if to_main.send(event.into()).is_err() {
                    break;
                }
            }
        })?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        std::thread::Builder::new().name("gospy-keys".to_owned()).spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                let input = match event::poll(LOOK) {
                    Ok(false) => continue,
                    Ok(true) => event::read(),
                    Err(error) => Err(error),
                };
                let message: E = match input {
                    Ok(Input::Key(key)) => Event::Key(key).into(),
                    Ok(Input::Resize(width, height)) => Event::Resize(width, height).into(),
                    Ok(_) => continue,
                    // Without a terminal there is nothing left to draw on.
                    Err(error) => {
                        let _ = events.send(error.into());
                        break;
                    }
                };
                if events.send(message).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self { stop, signals: handle })
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.signals.close();
    }
}
