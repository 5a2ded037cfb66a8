//! Programs on a pseudo terminal.

use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

pub const PATIENCE: Duration = Duration::from_secs(90);
pub const SIZE: (u16, u16) = (100, 30);

/// A program on a terminal, and what that shows.
pub struct Terminal {
    pub child: Box<dyn Child + Send + Sync>,
    pub master: Box<dyn MasterPty + Send>,
    pub keys: Box<dyn Write + Send>,
    pub output: Receiver<Vec<u8>>,
    pub screen: vt100::Parser,
    /// Everything that was ever written.
    pub log: Vec<u8>,
}

impl Terminal {
    pub fn start(command: CommandBuilder) -> Self {
        let (cols, rows) = SIZE;
        let pair = native_pty_system().openpty(PtySize { rows, cols, pixel_width: 0, pixel_height: 0 }).unwrap();
        let child = pair.slave.spawn_command(command).unwrap();
        let mut reader = pair.master.try_clone_reader().unwrap();
        let keys = pair.master.take_writer().unwrap();
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 65_536];
            // The other end is closed when the program has ended.
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        let screen = vt100::Parser::new(rows, cols, 0);
        Self { child, master: pair.master, keys, output, screen, log: Vec::new() }
    }

    /// gospy with these arguments.
    pub fn gospy(arguments: &[&str]) -> Self {
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_gospy"));
        command.args(arguments);
        command.env("TERM", "xterm-256color");
        command.env_remove("NO_COLOR");
        Self::start(command)
    }

    pub fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    pub fn text(&self) -> String {
        self.screen.screen().contents()
    }

    pub fn take(&mut self, wait: Duration) -> bool {
        match self.output.recv_timeout(wait) {
            Ok(bytes) => {
                self.log.extend(&bytes);
                self.screen.process(&bytes);
                true
            }
            Err(RecvTimeoutError::Timeout) => true,
            Err(RecvTimeoutError::Disconnected) => false,
        }
    }

    /// Waits until the screen shows what is wanted, and gives what that made of it.
    pub fn until<T>(&mut self, what: &str, wanted: impl Fn(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = wanted(&self.text()) {
                return found;
            }
            assert!(Instant::now() < deadline, "never shown: {what}\n{}", self.text());
            if !self.take(Duration::from_millis(50)) {
                panic!("it ended before: {what}\n{}", self.text());
            }
        }
    }

    pub fn until_text(&mut self, text: &str) {
        self.until(text, |screen| screen.contains(text).then_some(()));
    }

    /// Waits for the end; everything that was written has been taken in then.
    pub fn end(&mut self) -> portable_pty::ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end\n{}", self.text());
            self.take(Duration::from_millis(20));
        };
        self.settle();
        status
    }

    /// Takes in what was written and is still on its way, which can be several pieces.
    pub fn settle(&mut self) {
        let settled = Instant::now() + Duration::from_millis(300);
        while Instant::now() < settled && self.take(Duration::from_millis(50)) {}
    }

    /// What was changed of the terminal has been changed back.
    pub fn is_restored(&self) {
        let screen = self.screen.screen();
        assert!(!screen.alternate_screen(), "the alternate screen is still on");
        assert!(!screen.hide_cursor(), "the cursor is still hidden");
        let modes = self.master.get_termios().expect("modes of the terminal");
        // ISIG, ICANON and ECHO, as Linux numbers them.
        let wanted = 0o13;
        assert_eq!(modes.local_flags.bits() & wanted, wanted, "{:?}", modes.local_flags);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
