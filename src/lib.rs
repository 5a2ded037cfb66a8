//! gospy reads the memory of a running Go program from outside and reports what every goroutine does.
//!
//! Data flows one way, and each layer knows only those above it in this list:
//!
//! * [`process`]: the bytes of a process
//! * `image`: what the binary says
//! * `runtime`: where this version of Go keeps things
//! * [`capture`]: one walk through them, giving a snapshot
//! * `go_names`: what the name of a Go function says
//! * [`model`]: the snapshot, pure data
//! * [`analysis`]: functions of snapshots
//! * [`inspect`]: which Go programs run, and how reading one would go
//! * [`sampling`]: snapshots of a program, one after the other
//! * `archive`: many snapshots of one program in a file
//! * [`report`]: functions of analyses to a writer
//! * `serve`: the server of metrics and profiles
//! * `top`: the live view
//! * `commands`: the command line
//!
//! # As a library
//!
//! A target is opened, a session finds the Go program in it, and each capture is a snapshot: plain data, of
//! which [`analysis`] knows what is asked most and [`report`] writes JSON, pprof profiles and tracebacks.
//! `examples/library.rs` does it for running processes, too ([`process::live::LiveTarget`]).
//!
//! ```
//! use gospy::analysis::Index;
//! use gospy::capture::{CaptureOptions, OpenOptions, Session};
//! use gospy::process::core::{CoreOptions, CoreTarget};
//! use gospy::report::profile::goroutines;
//! use gospy::report::traceback;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let file = "fixtures/captures/tiny-1.26.6-amd64.capture";
//! let target = CoreTarget::open(file.as_ref(), &CoreOptions::default())?;
//! let mut session = Session::open(Box::new(target), &OpenOptions::default())?;
//! let snapshot = session.capture(&CaptureOptions { stacks: true, ..CaptureOptions::default() })?;
//!
//! let index = Index::new(&snapshot);
//! let all: Vec<usize> = (0..snapshot.goroutines.len()).collect();
//! let options = traceback::TracebackOptions::for_version(&snapshot.target.go_version);
//! let mut text = Vec::new();
//! traceback::write_all(&mut text, &index, &all, options)?;
//! assert!(String::from_utf8(text)?.contains("main.receive"));
//! let samples = goroutines::write(&mut Vec::new(), &index, &all, goroutines::Samples::Each)?;
//! assert_eq!(samples, 7);
//! # Ok(())
//! # }
//! ```
//!
//! What is listed, in which order and how much of it, is a [`analysis::Request`]; the [`analysis::Answer`] to it
//! is what reports are written from:
//!
//! ```
//! use gospy::analysis::{Answer, Filter, GroupBy, Index, Request, answer::Rows};
//! use gospy::capture::{CaptureOptions, OpenOptions, Session};
//! use gospy::process::core::{CoreOptions, CoreTarget};
//! use gospy::report::json::{self, JsonOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let file = "fixtures/captures/tiny-1.26.6-amd64.capture";
//! # let target = CoreTarget::open(file.as_ref(), &CoreOptions::default())?;
//! # let mut session = Session::open(Box::new(target), &OpenOptions::default())?;
//! # let snapshot = session.capture(&CaptureOptions { stacks: true, ..CaptureOptions::default() })?;
//! let index = Index::new(&snapshot);
//! let waiting = "state=waiting and not system";
//! let request = Request {
//!     filter: Some((waiting.to_owned(), Filter::parse(waiting)?)),
//!     rows: Rows::Groups(GroupBy::Stack),
//!     ..Request::default()
//! };
//! let answer = Answer::of(&index, request);
//! assert_eq!((answer.matching(), answer.counts().total, answer.findings().len()), (2, 7, 0));
//! let mut document = Vec::new();
//! json::write(&mut document, &answer, JsonOptions::default())?;
//! # Ok(())
//! # }
//! ```
//!
//! Options are built with `..Default::default()`, so that one more of them breaks nothing; results and errors are
//! `#[non_exhaustive]`. What is public is what a program can use; everything else is the crate's own.
//!
//! Errors of all layers have a kind ([`capture::SourceError::kind`]). The command line, the live view, the server and the
//! tools for assistants are the features `cli`, `top`, `serve` and `mcp`, on by default; without them none is built, nor
//! what only they need. The feature `testing` has made-up processes and snapshots for tests.
//!
//! Everything that is read from a target is treated as hostile: lengths, loops and depths are
//! bounded, arithmetic is checked, and one odd goroutine is a warning in the answer, never a
//! failed command.

#![cfg_attr(
    not(feature = "cli"),
    allow(dead_code, unused_imports, reason = "parts of what only the reports for a terminal are made of")
)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "a test that gets no thread fails"))]
#![cfg_attr(not(feature = "testing"), allow(unreachable_pub, reason = "some of it is only public for tests"))]

pub mod addr;
pub mod analysis;
pub(crate) mod archive;
pub(crate) mod bytes;
pub mod capture;
#[cfg(feature = "cli")]
pub mod commands;
pub(crate) mod go_names;
pub mod heap;
pub(crate) mod image;
pub mod inspect;
pub mod model;
pub(crate) mod new_file;
pub mod process;
pub mod report;
pub(crate) mod runtime;
pub mod sampling;
#[cfg(feature = "serve")]
pub mod serve;
#[cfg(feature = "testing")]
pub mod testing;
pub(crate) mod threads;
#[cfg(feature = "top")]
pub mod top;
