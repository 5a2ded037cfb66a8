//! What the name of a Go function says.
//!
//! Names are kept as the runtime has them; how a traceback prints them differs by Go version, so
//! what depends on it takes the minor version (26 for go1.26.6).

use std::borrow::Cow;

/// The minor version of a Go 1 toolchain: 26 for `go1.26.6`, `go1.26-custom`, `devel go1.26-ab12`.
#[must_use]
pub fn minor_of(go_version: &str) -> Option<u32> {
    let (_, behind) = go_version.split_once("go1.")?;
    let end = behind.find(|c: char| !c.is_ascii_digit()).unwrap_or(behind.len());
    behind.get(..end)?.parse().ok()
}

/// The name as the runtime prints it (traceback.go `printFuncName`, symtab.go `funcNameForPrint`):
/// `runtime.gopanic` is `panic`, and from 1.21 on type arguments are `[...]`; 1.27 knows generic
/// methods with two lists of them.
#[must_use]
pub fn printed(name: &str, minor: u32) -> Cow<'_, str> {
    if name == "runtime.gopanic" {
        return Cow::Borrowed("panic");
    }
    if minor < 21 {
        return Cow::Borrowed(name);
    }
    let (Some(open), Some(close)) = (name.find('['), name.rfind(']')) else { return Cow::Borrowed(name) };
    let (Some(before), Some(inner), Some(after)) = (name.get(..open), name.get(open + 1..close), name.get(close + 1..))
    else {
        return Cow::Borrowed(name);
    };
    if inner == "..." {
        return Cow::Borrowed(name);
    }
    if minor >= 27 && inner.contains('[') {
        return match between_lists(inner) {
            Lists::One => Cow::Owned(format!("{before}[...]{after}")),
            Lists::Two(between) => Cow::Owned(format!("{before}[...]{between}[...]{after}")),
            Lists::Odd => Cow::Borrowed(name),
        };
    }
    Cow::Owned(format!("{before}[...]{after}"))
}

enum Lists<'a> {
    One,
    Two(&'a str),
    Odd,
}

/// Whether what is between the first `[` and the last `]` is one list of type arguments or two with
/// something between them.
fn between_lists(inner: &str) -> Lists<'_> {
    let mut depth = 1_i32;
    let mut closed = None;
    let mut reopened = None;
    for (at, c) in inner.char_indices() {
        match c {
            '[' => {
                depth += 1;
                if depth == 1 {
                    reopened = Some(at);
                    break;
                }
            }
            ']' => {
                depth -= 1;
                if depth < 0 {
                    break;
                }
                if depth == 0 {
                    closed = Some(at);
                }
            }
            _ => {}
        }
    }
    // Behind the first list of two, the second one's opening bracket is at depth 1 again.
    match (depth, closed, reopened) {
        (1, None, None) => Lists::One,
        (1, Some(closed), Some(reopened)) if reopened > closed => {
            inner.get(closed + 1..reopened).map_or(Lists::Odd, Lists::Two)
        }
        _ => Lists::Odd,
    }
}

/// Where the package path ends in a function's name: at the first point behind the last slash that
/// comes before any type argument.
#[must_use]
pub fn package_end(name: &str) -> Option<usize> {
    let plain = name.get(..name.find('[').unwrap_or(name.len()))?;
    let base = plain.rfind('/').map_or(0, |slash| slash + 1);
    plain.get(base..)?.find('.').map(|point| base + point)
}

/// The package path of a function: `gopkg.in/yaml.v3` for `gopkg.in/yaml%2ev3.(*parser).peek` (the
/// linker escapes points in the last element); `None` for a name without one.
#[must_use]
pub fn package(name: &str) -> Option<Cow<'_, str>> {
    let path = name.get(..package_end(name)?)?;
    if path.is_empty() {
        return None;
    }
    if !path.contains('%') {
        return Some(Cow::Borrowed(path));
    }
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let escaped = match (first, behind) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        bytes.push(escaped.unwrap_or(first));
        rest = if escaped.is_some() { behind.get(2..).unwrap_or(&[]) } else { behind };
    }
    Some(Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::{minor_of, package, printed};

    #[test]
    fn versions() {
        for (text, want) in [
            ("go1.26.6", Some(26)),
            ("go1.27rc1", Some(27)),
            ("devel go1.25-abcdef Mon", Some(25)),
            ("go1.26.6 X:nodwarf5", Some(26)),
            ("go2", None),
            ("", None),
            ("go1.99999999999", None),
        ] {
            assert_eq!(minor_of(text), want, "{text}");
        }
    }

    #[test]
    fn names_are_printed_as_the_runtime_does() {
        for (name, minor, want) in [
            ("main.Map[go.shape.int]", 26, "main.Map[...]"),
            ("main.Map[go.shape.int]", 19, "main.Map[go.shape.int]"),
            ("main.(*T[go.shape.struct { A []int }]).Get.func1", 26, "main.(*T[...]).Get.func1"),
            ("main.(*T[int]).Map[string]", 26, "main.(*T[...]"),
            ("main.(*T[int]).Map[string]", 27, "main.(*T[...]).Map[...]"),
            ("main.F[[]int]", 27, "main.F[...]"),
            ("main.F[map[int]string]", 27, "main.F[...]"),
            ("runtime.gopanic", 26, "panic"),
            ("main.F[...]", 26, "main.F[...]"),
            ("main.odd]x[", 26, "main.odd]x["),
        ] {
            assert_eq!(printed(name, minor), want, "{name} {minor}");
        }
    }

    #[test]
    fn packages() {
        for (name, want) in [
            ("main.main", Some("main")),
            ("github.com/a/b.(*T).M", Some("github.com/a/b")),
            ("gopkg.in/yaml%2ev3.(*parser).peek", Some("gopkg.in/yaml.v3")),
            ("main.F[example.com/x/y.T]", Some("main")),
            ("a%zz.f", Some("a%zz")),
            ("a%c.f", Some("a%c")),
            ("_cgo_panic", None),
            (".f", None),
            ("", None),
        ] {
            assert_eq!(package(name).as_deref(), want, "{name}");
        }
    }
}
