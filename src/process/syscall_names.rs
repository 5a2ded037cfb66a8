//! Names and parameters of Linux system calls, by their numbers.
//!
//! `syscall_table.txt` is compared with the kernel's headers and with strace's own table in the tests. A call that it
//! does not have is unknown: its number is all that is certain.

use std::sync::LazyLock;

use rustc_hash::FxHashMap;

use super::description::SystemCall;
use crate::addr::Arch;

/// `AT_FDCWD`: the current directory in place of a descriptor.
pub(crate) const AT_FDCWD: i32 = -100;

/// What a system call takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Its name.
    pub name: &'static str,
    /// Its parameters, at most six.
    pub parameters: Vec<Parameter>,
}

/// The meaning of one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Parameter {
    /// A descriptor.
    Descriptor,
    /// A descriptor of a directory, or [`AT_FDCWD`].
    Directory,
    /// An address.
    Address,
    /// An unsigned number, such as a length in bytes.
    Unsigned,
    /// An `int`.
    Int,
    /// A `long`.
    Long,
    /// Flags.
    Flags,
    /// The mode of a file.
    Mode,
    /// A pid or thread id.
    Pid,
    /// The number of a signal.
    Signal,
    /// The operation of `futex`.
    FutexOperation,
    /// The operation of `epoll_ctl`.
    EpollOperation,
    /// The operation of `flock`.
    FlockOperation,
    /// The command of `fcntl`.
    FcntlCommand,
}

impl Parameter {
    fn of(letter: char) -> Option<Self> {
        Some(match letter {
            'f' => Self::Descriptor,
            'd' => Self::Directory,
            'p' => Self::Address,
            'n' => Self::Unsigned,
            'i' => Self::Int,
            'l' => Self::Long,
            'x' => Self::Flags,
            'm' => Self::Mode,
            't' => Self::Pid,
            's' => Self::Signal,
            'o' => Self::FutexOperation,
            'e' => Self::EpollOperation,
            'k' => Self::FlockOperation,
            'c' => Self::FcntlCommand,
            _ => return None,
        })
    }
}

/// Calls by their numbers on one architecture.
type ByNumber = FxHashMap<u64, Signature>;

static AMD64: LazyLock<ByNumber> = LazyLock::new(|| table(1));
static ARM64: LazyLock<ByNumber> = LazyLock::new(|| table(2));

const TABLE: &str = include_str!("syscall_table.txt");

/// The table by the numbers in that column.
fn table(column: usize) -> ByNumber {
    let line = |line: &'static str| {
        let mut fields = line.split_ascii_whitespace();
        let name = fields.clone().next()?;
        let number = fields.nth(column)?.parse().ok()?;
        let letters = fields.nth(2 - column).unwrap_or_default();
        Some((number, Signature { name, parameters: letters.chars().filter_map(Parameter::of).collect() }))
    };
    TABLE.lines().filter(|line| !line.starts_with('#')).filter_map(line).collect()
}

/// The system call of that number; `None` for one that the table does not have.
#[must_use]
pub fn signature(arch: Arch, number: u64) -> Option<&'static Signature> {
    match arch {
        Arch::Amd64 => AMD64.get(&number),
        Arch::Arm64 => ARM64.get(&number),
    }
}

impl SystemCall {
    /// Its name; `None` where that is not known.
    #[must_use]
    pub fn name(self, arch: Arch) -> Option<&'static str> {
        signature(arch, self.number).map(|signature| signature.name)
    }

    /// The descriptors among its arguments, in their order; `AT_FDCWD` and negative numbers are none.
    pub fn descriptors(self, arch: Arch) -> impl Iterator<Item = i32> {
        let parameters = signature(arch, self.number).map(|signature| signature.parameters.as_slice());
        let arguments = parameters.unwrap_or_default().iter().zip(self.arguments);
        arguments
            .filter(|(parameter, _)| matches!(parameter, Parameter::Descriptor | Parameter::Directory))
            // The kernel takes the lower half.
            .map(|(_, argument)| argument as i32)
            .filter(|fd| *fd >= 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(number: u64, arguments: [u64; 6]) -> SystemCall {
        SystemCall { number, arguments }
    }

    #[test]
    fn calls_have_the_numbers_of_their_architecture() {
        assert_eq!(call(0, [0; 6]).name(Arch::Amd64), Some("read"));
        assert_eq!(call(0, [0; 6]).name(Arch::Arm64), Some("io_setup"));
        assert_eq!(call(63, [0; 6]).name(Arch::Arm64), Some("read"));
        // arm64 has neither, and nobody has the last.
        assert_eq!(call(u64::MAX, [0; 6]).name(Arch::Amd64), None);
        assert!(!ARM64.values().any(|signature| ["open", "poll", "epoll_wait"].contains(&signature.name)));
        assert_eq!(call(9_999, [0; 6]).name(Arch::Amd64), None);
    }

    #[test]
    fn every_line_of_the_table_is_understood() {
        let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
        for line in lines.clone() {
            let fields: Vec<&str> = line.split(' ').collect();
            assert!((3..=4).contains(&fields.len()), "{line}");
            let letters = fields.get(3).copied().unwrap_or_default();
            assert!(letters.len() <= 6 && letters.chars().all(|letter| Parameter::of(letter).is_some()), "{line}");
            for (number, by_number) in [(fields[1], &*AMD64), (fields[2], &*ARM64)] {
                let there = number.parse().ok().and_then(|number: u64| by_number.get(&number));
                assert_eq!(there.map(|signature| signature.name), (number != "-").then_some(fields[0]), "{line}");
                assert!(there.is_none_or(|signature| signature.parameters.len() == letters.len()), "{line}");
            }
        }
        assert_eq!(lines.count(), AMD64.len());
    }

    #[test]
    fn descriptors_are_found_among_the_arguments() {
        let of = |number, arguments| call(number, arguments).descriptors(Arch::Amd64).collect::<Vec<_>>();
        // read, splice, openat of the current directory, futex, poll
        assert_eq!(of(0, [7, 0xc000, 4096, 0, 0, 0]), [7]);
        assert_eq!(of(275, [3, 0, 4, 0, 5, 0]), [3, 4]);
        assert!(of(257, [AT_FDCWD as u64, 0xc000, 0, 0, 0, 0]).is_empty());
        assert_eq!(of(257, [0xffff_ffff_0000_0005, 0xc000, 0, 0, 0, 0]), [5]);
        assert!(of(202, [3, 4, 5, 6, 7, 8]).is_empty());
        assert!(of(9_999, [3; 6]).is_empty());
    }
}
