//! Reads the tracebacks that Go prints: those of `runtime.Stack` (which pprof's `debug=2`
//! shares) and those of SIGQUIT, which have system frames and `fp= sp= pc=`.

/// One goroutine of a traceback.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DumpGoroutine {
    pub id: u64,
    /// The first line as it is, without the colon at its end.
    pub header: String,
    /// The first word in brackets, such as `chan receive` or `select (no cases)`.
    pub state: String,
    /// What follows the state in brackets, minutes and `locked to thread` included.
    pub extras: Vec<String>,
    pub minutes: Option<u64>,
    pub locked: bool,
    /// The lines after the header as they are.
    pub lines: Vec<String>,
    /// Innermost first.
    pub frames: Vec<DumpFrame>,
    /// How many frames were left out, and before which index of `frames`.
    pub elided: Option<Elided>,
    pub created_by: Option<DumpCreator>,
    /// Ancestors (`GODEBUG=tracebackancestors=N`): goroutine ids, nearest first.
    pub ancestors: Vec<u64>,
}

/// A gap in a traceback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elided {
    pub before: usize,
    /// `None` if the traceback says only that there are more.
    pub count: Option<u64>,
}

/// One frame of a traceback, physical or inlined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DumpFrame {
    pub function: String,
    /// What is in the parentheses after it.
    pub arguments: String,
    pub file: String,
    pub line: u64,
    /// From the function's entry; absent for inlined frames and at an entry.
    pub offset: Option<u64>,
    /// SIGQUIT only, and only for physical frames.
    pub fp: Option<u64>,
    pub sp: Option<u64>,
    pub pc: Option<u64>,
}

/// Where a goroutine comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DumpCreator {
    pub function: String,
    /// From Go 1.21 on.
    pub goroutine: Option<u64>,
    pub file: String,
    pub line: u64,
    pub offset: Option<u64>,
}

impl DumpGoroutine {
    /// The function names, innermost first.
    pub fn functions(&self) -> Vec<&str> {
        self.frames.iter().map(|frame| frame.function.as_str()).collect()
    }
}

/// All goroutines in a text that may have other things before, between and after them.
pub fn parse_traceback(text: &str) -> Vec<DumpGoroutine> {
    let mut goroutines: Vec<DumpGoroutine> = Vec::new();
    let mut open = false;
    // Below an ancestor's heading frames are no longer the goroutine's own.
    let mut own = true;
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(goroutine) = parse_header(line) {
            goroutines.push(goroutine);
            (open, own) = (true, true);
            continue;
        }
        if line.trim().is_empty() {
            open = false;
        }
        let Some(goroutine) = goroutines.last_mut().filter(|_| open) else {
            continue;
        };
        goroutine.lines.push(line.to_owned());
        if let Some(id) = ancestor(line) {
            goroutine.ancestors.push(id);
            own = false;
            continue;
        }
        if let Some(count) = elided(line) {
            if own {
                goroutine.elided = Some(Elided { before: goroutine.frames.len(), count });
            }
            continue;
        }
        let Some(place) = lines.peek().and_then(|next| parse_place(next)) else {
            continue;
        };
        goroutine.lines.extend(lines.next().map(str::to_owned));
        if !own {
            continue;
        }
        if let Some(creator) = line.strip_prefix("created by ") {
            let (function, by) = match creator.rsplit_once(" in goroutine ") {
                Some((function, id)) => (function, id.parse().ok()),
                None => (creator, None),
            };
            goroutine.created_by = Some(DumpCreator {
                function: function.to_owned(),
                goroutine: by,
                file: place.file,
                line: place.line,
                offset: place.offset,
            });
        } else if let Some((function, arguments)) = split_call(line) {
            goroutine.frames.push(DumpFrame { function, arguments, ..place });
        }
    }
    goroutines
}

/// `goroutine 7 gp=0xc0 m=nil [chan receive, 2 minutes, locked to thread]:`
fn parse_header(line: &str) -> Option<DumpGoroutine> {
    let header = line.strip_suffix(':')?;
    let rest = header.strip_prefix("goroutine ")?;
    let (id, rest) = rest.split_once(' ')?;
    let (_, rest) = rest.split_once('[')?;
    let (inside, _) = rest.split_once(']')?;
    let mut parts = inside.split(", ");
    let mut goroutine = DumpGoroutine {
        id: id.parse().ok()?,
        header: header.to_owned(),
        state: parts.next()?.to_owned(),
        ..DumpGoroutine::default()
    };
    for part in parts {
        if let Some(minutes) = part.strip_suffix(" minutes") {
            goroutine.minutes = minutes.parse().ok();
        }
        goroutine.locked |= part == "locked to thread";
        goroutine.extras.push(part.to_owned());
    }
    Some(goroutine)
}

/// `[originating from goroutine 7]:`
fn ancestor(line: &str) -> Option<u64> {
    line.strip_prefix("[originating from goroutine ")?.strip_suffix("]:")?.parse().ok()
}

/// `...23 frames elided...`, or `...additional frames elided...`
fn elided(line: &str) -> Option<Option<u64>> {
    let what = line.strip_prefix("...")?.strip_suffix(" frames elided...")?;
    Some(what.parse().ok())
}

/// `main.(*T).Method[...](0x1, {0x2, ...})`: the arguments contain no parentheses, the name may.
fn split_call(line: &str) -> Option<(String, String)> {
    let (function, arguments) = line.strip_suffix(')')?.rsplit_once('(')?;
    Some((function.to_owned(), arguments.to_owned()))
}

/// A tab, then `/path/file.go:12 +0x3f fp=0xc0 sp=0xc0 pc=0x4a`, most of it optional.
fn parse_place(line: &str) -> Option<DumpFrame> {
    let mut place = DumpFrame::default();
    let mut rest = line.strip_prefix('\t')?;
    // From the end, as a path may contain spaces and colons.
    while let Some((before, word)) = rest.rsplit_once(' ') {
        let (slot, digits) = if let Some(digits) = word.strip_prefix("+0x") {
            (&mut place.offset, digits)
        } else if let Some(digits) = word.strip_prefix("fp=0x") {
            (&mut place.fp, digits)
        } else if let Some(digits) = word.strip_prefix("sp=0x") {
            (&mut place.sp, digits)
        } else if let Some(digits) = word.strip_prefix("pc=0x") {
            (&mut place.pc, digits)
        } else {
            break;
        };
        *slot = Some(u64::from_str_radix(digits, 16).ok()?);
        rest = before;
    }
    let (file, line) = rest.rsplit_once(':')?;
    place.line = line.parse().ok()?;
    place.file = file.to_owned();
    Some(place)
}
