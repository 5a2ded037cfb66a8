//! `/proc/PID/task/TID/syscall`: where a thread is blocked in the kernel, without stopping it. For a running
//! thread the file holds only the word `running`.

use super::{BlockedThread, SystemCall, ThreadActivity};
use crate::addr::Addr;

/// The file's contents for a thread blocked in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    /// The system call; `None` when the thread is blocked outside of one, such as in a page fault.
    pub(super) call: Option<SystemCall>,
    /// Stack pointer in user mode.
    pub(super) sp: Addr,
    /// Program counter in user mode.
    pub(super) pc: Addr,
}

/// Parses the file; `None` for a running thread and for malformed text. Allocates nothing.
pub(super) fn parse(text: &str) -> Option<Waiting> {
    let mut fields = text.split_ascii_whitespace();
    let first = fields.next()?;
    let call = if first == "-1" {
        None
    } else {
        let mut arguments = [0; 6];
        for argument in &mut arguments {
            *argument = hex(fields.next()?)?;
        }
        Some(SystemCall { number: decimal(first)?, arguments })
    };
    let (sp, pc) = (hex(fields.next()?)?, hex(fields.next()?)?);
    (sp != 0 && pc != 0 && fields.next().is_none()).then_some(Waiting { call, sp: Addr(sp), pc: Addr(pc) })
}

/// Combines the two files of a thread. `syscall` must have been read before `switches`: then two equal results
/// mean that the thread has not run in between.
pub(super) fn thread(syscall: &str, switches: u64) -> Option<BlockedThread> {
    let Waiting { call, sp, pc } = parse(syscall)?;
    Some(BlockedThread { pc, sp, syscall: call.map(|call| call.number), switches })
}

/// What a thread does by its file.
pub(super) fn activity(text: &str) -> ThreadActivity {
    match parse(text) {
        Some(Waiting { call, sp, pc }) => ThreadActivity::Blocked { call, sp, pc },
        None if text.trim_end() == "running" => ThreadActivity::Running,
        None => ThreadActivity::Unknown("the kernel's description of the thread is malformed".to_owned()),
    }
}

fn decimal(digits: &str) -> Option<u64> {
    // `parse` would accept a sign.
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

fn hex(text: &str) -> Option<u64> {
    let digits = text.strip_prefix("0x")?;
    digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        let in_read = "0 0x3 0x7fdc0a34e000 0x20000 0x0 0xffffffff 0x0 0x7ffd8152a7d8 0x7fdc0a4ca2ad\n";
        assert_eq!(
            thread(in_read, 7),
            Some(BlockedThread {
                pc: Addr(0x7fdc_0a4c_a2ad),
                sp: Addr(0x7ffd_8152_a7d8),
                syscall: Some(0),
                switches: 7
            })
        );
        assert_eq!(
            parse("-1 0x7ffd8152a7d8 0x7fdc0a4ca2ad\n"),
            Some(Waiting { call: None, sp: Addr(0x7ffd_8152_a7d8), pc: Addr(0x7fdc_0a4c_a2ad) })
        );
        assert_eq!(parse("running\n"), None);
        assert_eq!(activity("running\n"), ThreadActivity::Running);
        let arguments = [3, 0x7fdc_0a34_e000, 0x20000, 0, 0xffff_ffff, 0];
        let call = Some(SystemCall { number: 0, arguments });
        let (sp, pc) = (Addr(0x7ffd_8152_a7d8), Addr(0x7fdc_0a4c_a2ad));
        assert_eq!(activity(in_read), ThreadActivity::Blocked { call, sp, pc });
        assert!(matches!(activity("0 0x3 0x7fdc0"), ThreadActivity::Unknown(_)));
    }

    #[test]
    fn malformed_text_is_rejected() {
        for text in [
            "",
            "\n",
            "0",
            "-1",
            "-1 0x1",
            "-1 0x1 0x2 0x3",
            "-1 1 2",
            "-1 0x0 0x2",
            "-1 0x1 0x0",
            "-1 0x10000000000000000 0x2",
            "-1 0x+1 0x2",
            "-1 0x 0x2",
            "-2 0x0 0x0 0x0 0x0 0x0 0x0 0x1 0x2",
            "+2 0x0 0x0 0x0 0x0 0x0 0x0 0x1 0x2",
            "99999999999999999999 0x0 0x0 0x0 0x0 0x0 0x0 0x1 0x2",
            "0 0x0 0x0 0x0 0x0 0x0 0x0 0x1",
            "0 0x0 0x0 0x0 0x0 0x0 0x0 0x1 0x2 0x3",
            "0 0x0 0x0 0x0 0x0 0x0 0x0 0x0 0x2",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_does_not_panic(text in "[-0-9a-fx \\n]{0,120}") {
            parse(&text);
        }

        #[test]
        fn what_is_written_is_read(number: u32, sp in 1_u64.., pc in 1_u64..) {
            let text = format!("{number} 0x1 0x2 0x3 0x4 0x5 0x6 {sp:#x} {pc:#x}\n");
            let call = Some(SystemCall { number: u64::from(number), arguments: [1, 2, 3, 4, 5, 6] });
            prop_assert_eq!(parse(&text), Some(Waiting { call, sp: Addr(sp), pc: Addr(pc) }));
        }
    }
}
