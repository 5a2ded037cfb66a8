use super::headers::Load;
use super::mappings::mappings;
use super::memory::Memory;
use super::notes::FileNote;
use std::sync::Arc;

fn memory(loads: &[(u64, u64)]) -> Memory {
    let loads = loads.iter().map(|&(start, end)| Load { start, end, offset: 0, len: 0, flags: 6 }).collect();
    Memory::new(Arc::new(Vec::new()), loads)
}

fn file(start: u64, end: u64, offset: u64, path: &str) -> FileNote {
    FileNote { start, end, offset, path: path.to_owned() }
}

#[test]
fn mappings_are_segments_cut_by_files_and_files_beyond_segments() {
    let memory = memory(&[(0x1000, 0x4000), (0x6000, 0x9000)]);
    let files = [
        file(0x400, 0x600, 0, "/c"),
        file(0x600, 0x800, 0, "/c"),
        file(0x2000, 0x3000, 0, "/a"),
        file(0x3000, 0x7000, 0x8000, "/b"),
        file(0xa000, 0xb000, 0x1000, "/a (deleted)"),
    ];
    let text: Vec<String> = mappings(&memory, &files)
        .iter()
        .map(|m| {
            let access = if m.write { "w" } else { "r" };
            format!("{}-{} {access} {:x} {} {} {}", m.start, m.end, m.offset, m.inode, m.path, m.deleted)
        })
        .collect();
    assert_eq!(
        text,
        [
            "0x400-0x600 r 0 1 /c false",
            "0x600-0x800 r 0 1 /c false",
            "0x1000-0x2000 w 0 0  false",
            "0x2000-0x3000 w 0 2 /a false",
            "0x3000-0x4000 w 8000 3 /b false",
            "0x4000-0x6000 r 9000 3 /b false",
            "0x6000-0x7000 w b000 3 /b false",
            "0x7000-0x9000 w 0 0  false",
            "0xa000-0xb000 r 1000 4 /a true",
        ]
    );
}
