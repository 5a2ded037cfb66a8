use std::sync::Arc;

use proptest::prelude::*;

use super::quoted::setting;
use super::*;
use crate::image::test_elf::{R, RW, RX, TestElf};

const MODINFO: &str = "path\texample.com/server/cmd\n\
    mod\texample.com/server\tv1.2.3\th1:abc=\n\
    dep\tgolang.org/x/net\tv0.1.0\th1:def=\n\
    dep\tgolang.org/x/sys\tv0.2.0\n\
    =>\t../sys\t(devel)\t\n\
    build\t-compiler=gc\n\
    build\t-ldflags=\"-s -w -X main.x=\\\"y\\\"\"\n\
    build\tCGO_CFLAGS=\n\
    build\tvcs.revision=0123abc\n\
    build\tvcs.time=2026-01-02T03:04:05Z\n\
    build\tvcs.modified=true\n";

/// Module information between its marks, as the linker writes it.
fn marked(text: &str) -> Vec<u8> {
    [b"0w\xaf\x0c\x92t\x08\x02A\xe1\xc1\x07\xe6\xd6\x18\xe6", text.as_bytes(), &[0xf9; 16]].concat()
}

fn uvarint(mut n: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
    out
}

/// A header followed by the strings, as since Go 1.18.
fn inline(version: &str, modinfo: &[u8]) -> Vec<u8> {
    let mut out = b"\xff Go buildinf:\x08\x02".to_vec();
    out.resize(32, 0);
    for string in [version.as_bytes(), modinfo] {
        out.extend(uvarint(string.len()));
        out.extend(string);
    }
    out
}

fn find(elf: &TestElf) -> Result<Option<BuildInfo>, BuildInfoError> {
    BuildInfo::find(&Elf::parse(Arc::new(elf.build())).unwrap())
}

fn version(elf: &TestElf) -> Option<String> {
    find(elf).unwrap().map(|info| info.go_version)
}

#[test]
fn everything_is_read_from_the_section() {
    let data = inline("go1.26.6", &marked(MODINFO));
    let elf = TestElf::new().load(0x40_0000, R, b"x").load(0x50_0000, RW, &data).loaded_section(
        ".go.buildinfo",
        0x50_0000,
        data.len() as u64,
    );
    let info = find(&elf).unwrap().unwrap();
    assert_eq!(info.go_version, "go1.26.6");
    assert_eq!(info.package_path.as_deref(), Some("example.com/server/cmd"));
    assert_eq!(info.main_path.as_deref(), Some("example.com/server"));
    assert_eq!(info.main_version.as_deref(), Some("v1.2.3"));
    assert_eq!(info.deps_count, 2);
    assert_eq!(info.setting("-ldflags"), Some(r#"-s -w -X main.x="y""#));
    assert_eq!(info.setting("CGO_CFLAGS"), Some(""));
    assert_eq!(info.setting("missing"), None);
    assert_eq!(info.vcs_revision(), Some("0123abc"));
    assert_eq!(info.vcs_time(), Some("2026-01-02T03:04:05Z"));
    assert_eq!(info.vcs_modified(), Some(true));
    assert_eq!(info.settings.len(), 6);
}

#[test]
fn without_sections_the_header_is_searched() {
    // Misaligned copies and those among the constants of a program that reads build information
    // come first in the file and do not count.
    let mut data = b"misaligned: \xff Go buildinf:\x08\x02 and more of it".to_vec();
    data.resize(96, 0);
    data.extend(inline("go1.27.3", b""));
    let elf = TestElf::new().load(0x40_0000, RX, &inline("go9.9", b"")).load(0x50_0000, RW, &data);
    assert_eq!(version(&elf).as_deref(), Some("go1.27.3"));
    // Without one in writable data, the other segments are searched.
    let elf = TestElf::new().load(0x40_0000, R, &inline("go9.9", b"")).load(0x50_0000, RW, b"nothing");
    assert_eq!(version(&elf).as_deref(), Some("go9.9"));
    assert_eq!(version(&TestElf::new().load(0x40_0000, R, b"int main")), None);
}

#[test]
fn the_search_covers_large_segments_and_unaligned_starts() {
    for before in [CHUNK - 32, CHUNK - 16, CHUNK, 2 * CHUNK + 48] {
        let mut data = vec![0; before];
        data.extend(inline("go1.26.6", b""));
        assert_eq!(version(&TestElf::new().load(0x50_0000, RW, &data)).as_deref(), Some("go1.26.6"), "{before}");
        // The segment starts 9 bytes before an aligned address.
        let shifted = [&[0; 9], &data[..]].concat();
        let elf = TestElf::new().load(0x50_0007, RW, &shifted);
        assert_eq!(version(&elf).as_deref(), Some("go1.26.6"), "{before}");
    }
}

#[test]
fn the_format_with_pointers_is_read_too() {
    // Header at 0x500000, Go strings at 0x500040 and 0x500050, text after them.
    let modinfo = marked("path\tcmd\n");
    let mut data = b"\xff Go buildinf:\x08\x00".to_vec();
    data.extend(0x50_0040_u64.to_le_bytes());
    data.extend(0x50_0050_u64.to_le_bytes());
    data.resize(64, 0);
    for word in [0x50_0060_u64, 8, 0x50_0068, modinfo.len() as u64] {
        data.extend(word.to_le_bytes());
    }
    data.extend(b"go1.17.5");
    data.extend(&modinfo);
    let info = find(&TestElf::new().load(0x50_0000, RW, &data)).unwrap().unwrap();
    assert_eq!((info.go_version.as_str(), info.package_path.as_deref()), ("go1.17.5", Some("cmd")));

    // Pointers not yet relocated.
    let mut unrelocated = data.clone();
    unrelocated[16..32].fill(0);
    let error = find(&TestElf::pie().load(0x50_0000, RW, &unrelocated)).unwrap_err();
    assert!(error.to_string().contains("lead nowhere"), "{error}");
    let mut big_endian = data;
    big_endian[15] = 1;
    assert!(find(&TestElf::new().load(0x50_0000, RW, &big_endian)).is_err());
}

#[test]
fn damage_is_an_error_and_lengths_are_limited() {
    let with = |strings: &[u8]| {
        let mut data = inline("", b"");
        data.truncate(32);
        data.extend(strings);
        find(&TestElf::new().load(0x50_0000, RW, &data)).map_err(|error| error.to_string())
    };
    assert!(with(&[]).unwrap_err().contains("version is cut off"));
    assert!(with(&[9, b'g', b'o']).unwrap_err().contains("version is cut off"));
    assert!(with(&[0]).unwrap_err().contains("empty"));
    assert!(with(&[0xff; 40]).unwrap_err().contains("cut off"));
    assert!(with(&[2, 0xff, 0xfe]).unwrap_err().contains("not text"));
    let long = [uvarint(5000), vec![b'g'; 5000]].concat();
    assert!(with(&long).unwrap_err().contains("cut off"), "longer than any version");
    // The version counts even when the rest is damaged.
    for rest in [&[][..], &[0xff, 0xff, 0xff, 0x7f], &[3, 1, 2, 3], &[0xff; 30]] {
        let info = with(&[b"\x04go1.".as_slice(), rest].concat()).unwrap().unwrap();
        assert_eq!(info, BuildInfo { go_version: "go1.".to_owned(), ..BuildInfo::default() });
    }
    assert!(with(&[b"\x04go1.".as_slice(), &[40], &[b'x'; 40]].concat()).unwrap().unwrap().settings.is_empty());
}

#[test]
fn settings_are_unquoted_as_go_quotes_them() {
    let of = |text| setting(text).map(|(key, value)| format!("{key}|{value}"));
    assert_eq!(of("a=b").as_deref(), Some("a|b"));
    assert_eq!(of("a=b=c").as_deref(), Some("a|b=c"));
    assert_eq!(of("a=").as_deref(), Some("a|"));
    assert_eq!(of(r#""a b"=c"#).as_deref(), Some("a b|c"));
    assert_eq!(of("`a=b`=`c\\n`").as_deref(), Some("a=b|c\\n"));
    assert_eq!(of(r#"a="\a\b\f\n\r\t\v\\\"""#).as_deref(), Some("a|\x07\x08\x0c\n\r\t\x0b\\\""));
    assert_eq!(of(r#"a="\xc3\xa9\303\251\u00e9\U000000e9é""#).as_deref(), Some("a|ééééé"));
    assert_eq!(of(r#"a="\xff""#).as_deref(), Some("a|\u{fffd}"));
    for broken in ["", "=", "=b", "a", r#""a"b=c"#, r#"a="b"#, r#"a="b"c"#, r#"a="\q""#, r#"a="\x4""#, r#"a="\777""#] {
        assert_eq!(setting(broken), None, "{broken}");
    }
    assert_eq!(of(r#"a="\x+4""#), None);
    assert_eq!(of(r#"a="\ud800""#), None);
    assert_eq!(of(r#"a="\xé""#), None);
}

proptest! {
    #[test]
    fn arbitrary_text_is_parsed_without_panic(text in "\\PC{0,200}", lines in prop::collection::vec("(path|mod|dep|build|=>)?\t?[a-z=\"`\\\\x ]{0,20}", 0..8)) {
        let _ = BuildInfo::parse_modinfo(&text);
        let info = BuildInfo::parse_modinfo(&lines.join("\n"));
        prop_assert!(info.deps_count <= lines.len() && info.settings.len() <= lines.len());
    }

    #[test]
    fn changed_bytes_do_not_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut data = inline("go1.26.6", &marked(MODINFO));
        for (at, value) in changes {
            let at = at.index(data.len());
            data[at] = value;
        }
        let elf = TestElf::new().load(0x50_0000, RW, &data).loaded_section(".go.buildinfo", 0x50_0000, 64);
        let _ = find(&elf);
    }

    #[test]
    fn quoting_is_undone(value in "\\PC{0,40}") {
        let quoted: String = value.chars().flat_map(|c| match c {
            '"' | '\\' => vec!['\\', c],
            c => vec![c],
        }).collect();
        prop_assert_eq!(setting(&format!("k=\"{quoted}\"")), Some(("k".to_owned(), value)));
    }
}
