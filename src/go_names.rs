//! What the name of a Go function shows: its package, whether it is the runtime's own, a wrapper or exported,
//! and how a traceback prints it.
//!
//! Names are kept as the runtime has them; how a traceback prints them differs by Go version, so
//! what depends on it takes the minor version (26 for go1.26.6). Whose code a function is, the
//! standard library's or the program's, takes its source file too: see [`Origins`].

mod origin;

pub(crate) use origin::{Origin, Origins};

use std::borrow::Cow;

/// The minor version of a Go 1 toolchain: 26 for `go1.26.6`, `go1.26-custom`, `devel go1.26-ab12`.
#[must_use]
pub(crate) fn minor_of(go_version: &str) -> Option<u32> {
    let (_, after) = go_version.split_once("go1.")?;
    let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
    after.get(..end)?.parse().ok()
}

/// The name as the runtime prints it (traceback.go `printFuncName`, symtab.go `funcNameForPrint`):
/// `runtime.gopanic` is `panic`, and from 1.21 on type arguments are `[...]`; 1.27 knows generic
/// methods with two lists of them.
#[must_use]
pub(crate) fn printed(name: &str, minor: u32) -> Cow<'_, str> {
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
            Lists::Other => Cow::Borrowed(name),
        };
    }
    Cow::Owned(format!("{before}[...]{after}"))
}

enum Lists<'a> {
    One,
    Two(&'a str),
    Other,
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
    // After the first of two lists, the second one's opening bracket is at depth 1 again.
    match (depth, closed, reopened) {
        (1, None, None) => Lists::One,
        (1, Some(closed), Some(reopened)) if reopened > closed => {
            inner.get(closed + 1..reopened).map_or(Lists::Other, Lists::Two)
        }
        _ => Lists::Other,
    }
}

/// Where the package path ends in a function's name: at the first dot after the last slash that comes before
/// any type argument.
#[must_use]
pub(crate) fn package_end(name: &str) -> Option<usize> {
    let plain = name.get(..name.find('[').unwrap_or(name.len()))?;
    let base = plain.rfind('/').map_or(0, |slash| slash + 1);
    plain.get(base..)?.find('.').map(|point| base + point)
}

/// The package path of a function: `gopkg.in/yaml.v3` for `gopkg.in/yaml%2ev3.(*parser).peek` (the linker
/// escapes dots in the last element); `None` for a name without one.
#[must_use]
pub(crate) fn package(name: &str) -> Option<Cow<'_, str>> {
    let path = name.get(..package_end(name)?)?;
    if path.is_empty() {
        return None;
    }
    if !path.contains('%') {
        return Some(Cow::Borrowed(path));
    }
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = match (first, after) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        bytes.push(escaped.unwrap_or(first));
        rest = if escaped.is_some() { after.get(2..).unwrap_or(&[]) } else { after };
    }
    Some(Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Whether code is the runtime's: by the name of its package, or because its source is in the runtime's
/// directory (`time.Sleep` and `sync.runtime_Semacquire` are written there and only have other packages'
/// names).
#[must_use]
pub(crate) fn is_runtime(function: &str, file: &str) -> bool {
    let by_name =
        ["runtime.", "runtime/internal/", "internal/runtime/"].iter().any(|prefix| function.starts_with(prefix));
    let Some((dir, _)) = file.rsplit_once('/') else { return by_name };
    // The second form is what -trimpath leaves.
    by_name || dir.ends_with("/src/runtime") || dir == "runtime"
}

/// Whether a function is one that profiles of Go 1.`minor` leave out at the top of a stack (runtime/pprof; 1.19 to
/// 1.27).
#[must_use]
pub(crate) fn is_hidden_by_profiles(name: &str, minor: u32) -> bool {
    name.starts_with("runtime.") || (minor >= 24 && name.starts_with("internal/runtime/"))
}

/// Whether a normal traceback of Go 1.`minor` shows a function by its name alone (`showfuncinfo`,
/// runtime/traceback.go): the runtime's own are hidden unless users call them, or they mean that
/// finalizers or cleanups are running.
#[must_use]
pub(crate) fn is_shown(name: &str, minor: u32) -> bool {
    let context = minor >= 25 && matches!(name, "runtime.runFinalizers" | "runtime.runCleanups");
    context || (name.contains('.') && (!name.starts_with("runtime.") || is_exported_runtime(name, minor)))
}

/// Whether a name in package runtime is one that users call (`isExportedRuntime`). Until 1.22 the
/// first letter decided; from 1.23 on methods count by receiver and name.
#[must_use]
pub(crate) fn is_exported_runtime(name: &str, minor: u32) -> bool {
    let Some(name) = name.strip_prefix("runtime.") else { return false };
    let upper = |text: &str| text.starts_with(|c: char| c.is_ascii_uppercase());
    if minor <= 22 {
        return upper(name);
    }
    match name.rsplit_once('.') {
        None => upper(name),
        Some((receiver, method)) => {
            let receiver = receiver.strip_prefix("(*").and_then(|r| r.strip_suffix(')')).unwrap_or(receiver);
            upper(method) && (receiver.is_empty() || upper(receiver))
        }
    }
}

/// Whether the runtime counts a goroutine that started in `function` as its own rather than the
/// program's (`isSystemGoroutine`, runtime/traceback.go), for those kinds that the start function
/// decides.
#[must_use]
pub(crate) fn is_system_start(function: &str) -> bool {
    function.starts_with("runtime.")
        && !matches!(function, "runtime.main" | "runtime.handleAsyncEvent" | "runtime.corostart")
}

/// Whether a function is the compiler's wrapper of the call in a `go` statement (`main.main.gowrap1`,
/// cmd/compile `closureName`, 1.22 on).
#[must_use]
pub(crate) fn is_go_wrapper(function: &str) -> bool {
    let own = function.rsplit_once('.').map_or(function, |(_, own)| own);
    own.strip_prefix("gowrap").is_some_and(|number| number.starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::{is_go_wrapper, is_runtime, is_shown, minor_of, package, printed};

    #[test]
    fn the_runtimes_own_by_name_or_directory() {
        assert!(is_runtime("runtime.gopark", "/usr/lib/go/src/runtime/proc.go"));
        assert!(is_runtime("time.Sleep", "runtime/time.go"));
        assert!(is_runtime("internal/runtime/syscall.Syscall6", "internal/runtime/syscall/asm.s"));
        assert!(!is_runtime("sync.(*Mutex).Lock", "/usr/lib/go/src/sync/mutex.go"));
        assert!(!is_runtime("k8s.io/util/runtime.Must", "k8s.io/util/runtime/runtime.go"));
        assert!(!is_runtime("main.main", "main.go"));
    }

    #[test]
    fn what_a_traceback_hides() {
        for (name, minor, want) in [
            ("main.main", 26, true),
            ("runtime.gopark", 26, false),
            ("runtime.GC", 26, true),
            ("runtime.(*Frames).Next", 22, false),
            ("runtime.(*Frames).Next", 23, true),
            ("runtime.(*mheap).Alloc", 26, false),
            ("runtime.runFinalizers", 25, true),
            ("runtime.runfinq", 24, false),
            ("cgocall", 26, false),
            ("runtime/debug.ReadGCStats", 26, true),
        ] {
            assert_eq!(is_shown(name, minor), want, "{name} {minor}");
        }
    }

    #[test]
    fn wrappers_of_go_statements() {
        for (name, want) in [
            ("main.main.gowrap1", true),
            ("net/http.(*Server).Serve.gowrap3", true),
            ("main.gowrap", false),
            ("main.gowrapper", false),
            ("main.main.func1", false),
            ("gowrap.com/x.f", false),
        ] {
            assert_eq!(is_go_wrapper(name), want, "{name}");
        }
    }

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
