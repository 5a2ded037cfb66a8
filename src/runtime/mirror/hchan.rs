//! `runtime.hchan`: a channel.

use super::mirror;

mirror! {
    /// What is read of a `runtime.hchan` (chan.go), as it is in memory.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Hchan, HchanLayout of "runtime.hchan" {
        /// `qcount`: elements in its buffer.
        qcount: u64 = "qcount",
        /// `dataqsiz`: room in its buffer.
        dataqsiz: u64 = "dataqsiz",
        /// `elemsize`: size of an element, bytes.
        elemsize: u16 = "elemsize",
        /// `closed`: not 0 where it is closed.
        closed: u32 = "closed",
        /// `elemtype`: address of the type of its elements.
        elemtype: u64 = "elemtype",
        /// `recvq.first`: the first sudog of those that wait to receive; 0 for none.
        first_receiver: u64 = "recvq",
        /// `sendq.first`: the first of those that wait to send.
        first_sender: u64 = "sendq",
    }
    optional {
        /// `timer` (1.23 on): the timer that feeds it; 0 for none, and with `GODEBUG=asynctimerchan=1`.
        timer: u64 = "timer",
    }
}
