//! How a program died, from the document to the model.

use serde::Deserialize;

use super::convert::{Restored, address};
use super::types::Place;
use crate::addr::Addr;
use crate::model::{self, DeathKind, Goid, StackKind};

#[derive(Debug, Deserialize)]
pub(super) struct Death {
    kind: String,
    #[serde(default)]
    text: String,
    message: Option<String>,
    #[serde(default)]
    panics: Vec<PanicValue>,
    signal: Option<Signal>,
    #[serde(default)]
    core_signal: Signal,
    #[serde(default)]
    thread_id: i32,
    m_id: Option<i64>,
    #[serde(default)]
    stack: String,
    object: Option<String>,
    goroutine_id: Option<u64>,
    frames: Option<Vec<Place>>,
    #[serde(default)]
    frames_complete: bool,
    #[serde(default)]
    certain: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PanicValue {
    go_type: Option<String>,
    text: String,
    recovered: bool,
    repanicked: bool,
    goexit: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Signal {
    number: i32,
    code: Option<i64>,
    address: Option<String>,
    pc: Option<String>,
    sender_pid: Option<i32>,
    sender_uid: Option<u32>,
}

impl Signal {
    fn restore(self) -> model::DeathSignal {
        let addr = |text: Option<String>| -> Option<Addr> { text.as_deref().map(address) };
        model::DeathSignal {
            number: self.number,
            code: self.code,
            addr: addr(self.address),
            pc: addr(self.pc),
            sender_pid: self.sender_pid,
            sender_uid: self.sender_uid,
        }
    }
}

impl Restored {
    /// The death of the program, whose own pid is not known yet.
    pub(super) fn died(&mut self, death: Death) {
        let kinds = [DeathKind::Panic, DeathKind::Throw, DeathKind::Fatal, DeathKind::Signal, DeathKind::OutsideGo];
        let stacks = [StackKind::Goroutine, StackKind::G0, StackKind::Gsignal, StackKind::Outside];
        let panic = |panic: PanicValue| model::PanicValue {
            go_type: panic.go_type,
            text: panic.text,
            recovered: panic.recovered,
            repanicked: panic.repanicked,
            goexit: panic.goexit,
        };
        let kind = kinds.into_iter().find(|kind| kind.name() == death.kind);
        self.death = Some(model::Death {
            // One of a later gospy: that it died is what counts.
            kind: kind.unwrap_or(DeathKind::OutsideGo),
            text: death.text,
            message: death.message,
            panics: death.panics.into_iter().map(panic).collect(),
            signal: death.signal.map(Signal::restore),
            core_signal: death.core_signal.restore(),
            process: 0,
            thread: death.thread_id,
            m: death.m_id,
            stack_kind: stacks.into_iter().find(|kind| kind.name() == death.stack).unwrap_or(StackKind::Outside),
            object: death.object,
            goroutine: death.goroutine_id.map(Goid),
            stack: death.frames.as_deref().map(|frames| self.frames(frames)),
            stack_complete: death.frames_complete,
            certain: death.certain && kind.is_some(),
        });
    }
}
