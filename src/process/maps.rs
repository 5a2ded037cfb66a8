//! `/proc/PID/maps`: what is mapped where.
//!
//! Our own parser, because file names need not be UTF-8 and programs with 100,000 mappings exist. A malformed
//! line is skipped.

use std::io::{self, BufRead, BufReader, Read};

use memchr::memchr;

use super::Mapping;
use crate::addr::Addr;

/// Suffix that the kernel appends to the path of a deleted file.
pub(crate) const DELETED: &str = " (deleted)";

/// Maximum lines read; `vm.max_map_count` is 65,530 (some systems: 1 Mi) unless raised.
const LINES: usize = 1 << 22;
/// Maximum line length: numbers, and a path of up to 4,096 bytes, each escaped as up to four.
const LINE: u64 = 20 * 1024;

/// A device as `maps` shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Device {
    /// Major number; 0 for file systems that have no device.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

/// All mappings in `source`, in its order (by address).
///
/// # Errors
/// When `source` cannot be read.
pub(crate) fn parse(source: impl Read) -> io::Result<Vec<Mapping>> {
    let mut out = Vec::new();
    each(source, |mapping, _| {
        out.push(mapping);
        true
    })?;
    Ok(out)
}

/// The device of the mapping that starts at `start`.
///
/// # Errors
/// When `source` cannot be read.
pub(crate) fn device_at(source: impl Read, start: Addr) -> io::Result<Option<Device>> {
    let mut found = None;
    each(source, |mapping, device| {
        if mapping.start == start {
            found = Some(device);
        }
        mapping.start < start
    })?;
    Ok(found)
}

/// Passes each mapping to `take` until it returns false.
fn each(source: impl Read, mut take: impl FnMut(Mapping, Device) -> bool) -> io::Result<()> {
    let mut source = BufReader::with_capacity(64 * 1024, source);
    let mut line = Vec::new();
    for _ in 0..LINES {
        line.clear();
        if source.by_ref().take(LINE).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if let Some((mapping, device)) = parse_line(line.strip_suffix(b"\n").unwrap_or(&line))
            && !take(mapping, device)
        {
            break;
        }
    }
    Ok(())
}

/// `START-END PERMS OFFSET MAJOR:MINOR INODE   PATH`
fn parse_line(line: &[u8]) -> Option<(Mapping, Device)> {
    let mut rest = line;
    let start = hex(until(&mut rest, b'-')?)?;
    let end = hex(until(&mut rest, b' ')?)?;
    let &[read, write, exec, _shared] = until(&mut rest, b' ')? else {
        return None;
    };
    let offset = hex(until(&mut rest, b' ')?)?;
    let major = u32::try_from(hex(until(&mut rest, b':')?)?).ok()?;
    let minor = u32::try_from(hex(until(&mut rest, b' ')?)?).ok()?;
    let inode = match memchr(b' ', rest) {
        Some(_) => until(&mut rest, b' ')?,
        None => std::mem::take(&mut rest),
    };
    let inode = decimal(inode)?;
    let padding = rest.iter().take_while(|&&b| b == b' ').count();
    let path = unescape(rest.get(padding..)?);
    // Only a file's path has the suffix; `[heap]` and the like have no inode.
    let (path, deleted) = match path.strip_suffix(DELETED) {
        Some(path) if inode != 0 => (path.to_owned(), true),
        _ => (path, false),
    };
    if start >= end {
        return None;
    }
    let mapping = Mapping {
        start: Addr(start),
        end: Addr(end),
        read: read == b'r',
        write: write == b'w',
        exec: exec == b'x',
        offset,
        inode,
        path,
        deleted,
    };
    Some((mapping, Device { major, minor }))
}

/// The bytes before the next `end`, which is consumed.
fn until<'a>(rest: &mut &'a [u8], end: u8) -> Option<&'a [u8]> {
    let (field, after) = rest.split_at_checked(memchr(end, rest)?)?;
    *rest = after.get(1..)?;
    Some(field)
}

fn hex(digits: &[u8]) -> Option<u64> {
    // from_str_radix would accept a sign.
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The kernel escapes only newlines in a path, as `\012`.
fn unescape(path: &[u8]) -> String {
    let path = String::from_utf8_lossy(path);
    if path.contains("\\012") { path.replace("\\012", "\n") } else { path.into_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        let text = b"00400000-00401000 r--p 00000000 fe:00 1234                               /bin/a b\n\
            00401000-00402000 rwxs 00001000 00:1f 99  /tmp/x\\012y (deleted)\n\
            7f0000000000-7f0000001000 ---p 00000000 00:00 0 \n\
            7fff00000000-7fff00001000 rw-p 00000000 00:00 0                          [stack]\n\
            7fff00001000-7fff00002000 rw-p 00000000 00:00 0                          [anon: x (deleted)\n\
            ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n";
        let maps = parse(&text[..]).unwrap();
        assert_eq!(maps.len(), 6);
        assert_eq!(
            maps[0],
            Mapping {
                start: Addr(0x40_0000),
                end: Addr(0x40_1000),
                read: true,
                write: false,
                exec: false,
                offset: 0,
                inode: 1234,
                path: "/bin/a b".into(),
                deleted: false,
            }
        );
        assert_eq!((maps[1].path.as_str(), maps[1].deleted, maps[1].offset), ("/tmp/x\ny", true, 0x1000));
        assert!(maps[1].read && maps[1].write && maps[1].exec);
        assert_eq!(maps[2].path, "");
        assert!(!maps[2].read);
        assert_eq!(maps[3].path, "[stack]");
        assert_eq!((maps[4].path.as_str(), maps[4].deleted), ("[anon: x (deleted)", false));
        assert_eq!(maps[5].start, Addr(0xffff_ffff_ff60_0000));
        assert_eq!(device_at(&text[..], Addr(0x40_1000)).unwrap(), Some(Device { major: 0, minor: 0x1f }));
        assert_eq!(device_at(&text[..], Addr(0x40_1001)).unwrap(), None);
    }

    #[test]
    fn malformed_lines_are_skipped() {
        for line in [
            "",
            "x",
            "1000-2000",
            "2000-1000 r--p 0 0:0 0",
            "+1000-2000 r--p 0 0:0 0",
            "1000-2000 r--px 0 0:0 0",
            "1000-2000 r--p 0 0:0 -1",
            "10000000000000000-2000 r--p 0 0:0 0",
        ] {
            assert_eq!(parse(line.as_bytes()).unwrap(), [], "{line:?}");
        }
        let non_utf8_name = b"1000-2000 r--p 0 0:0 7 /tmp/\xff\n3000-4000 r--p 0 0:0 0\n";
        let maps = parse(&non_utf8_name[..]).unwrap();
        assert_eq!(maps.len(), 2);
        assert_eq!(maps[0].path, "/tmp/\u{fffd}");
    }

    #[test]
    fn agrees_with_procfs_on_this_process() {
        let ours = parse(std::fs::File::open("/proc/self/maps").unwrap()).unwrap();
        let theirs = procfs::process::Process::myself().unwrap().maps().unwrap();
        let stack = |mapping: &&Mapping| mapping.path == "[stack]";
        let their_stack = theirs.iter().find(|map| map.pathname == procfs::process::MMapPath::Stack).unwrap();
        // The stack may grow between the two reads; its end stays.
        assert_eq!(ours.iter().find(stack).unwrap().end.0, their_stack.address.1);
        let mapped = |start: u64| theirs.iter().any(|map| map.address.0 == start);
        let file_backed: Vec<_> = ours.iter().filter(|map| map.inode != 0).collect();
        assert!(!file_backed.is_empty());
        assert!(file_backed.iter().all(|map| mapped(map.start.0)));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            parse(bytes.as_slice()).unwrap();
        }

        #[test]
        fn what_is_written_is_read(start in 0_u64..1 << 47, pages in 1_u64..1 << 20, offset: u64, inode: u64, path in "(/[a-z ]{0,20}[a-z])?") {
            let end = start + pages * 4096;
            let line = format!("{start:08x}-{end:08x} r-xp {offset:08x} 103:2 {inode}    {path}\n");
            let maps = parse(line.as_bytes()).unwrap();
            prop_assert_eq!(maps.len(), 1);
            prop_assert_eq!((maps[0].start.0, maps[0].end.0, maps[0].offset, maps[0].inode), (start, end, offset, inode));
            prop_assert_eq!(&maps[0].path, &path);
        }
    }
}
