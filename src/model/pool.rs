//! Interned names, places, stacks and labels.

use std::num::NonZeroU32;

use rustc_hash::FxHashMap;

use super::Goid;
use crate::addr::Addr;

/// Number of a value in its part of the pool, counted from one: so that an optional one is no larger.
type Number = NonZeroU32;

/// A string in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StrId(Number);

/// A place in code in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameId(Number);

/// A stack in the pool; equal ids mean identical stacks, frame by frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StackId(Number);

/// A set of labels in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelsId(Number);

/// A chain of ancestors in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AncestorsId(Number);

/// A C stack in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ForeignStackId(Number);

/// What a frame was compiled from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Language {
    /// Go, or Go assembly: known through pclntab.
    Go,
    /// Anything else (C below a cgo call): known as far as symbols allow.
    Foreign,
}

/// A place in code: one logical frame, that is a function or one that was inlined into it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    /// Name as the runtime has it, unabridged (`pkg.(*T).Method`, `pkg.F[...]`, `pkg.f.func1`).
    pub function: StrId,
    /// Source file; empty where unknown.
    pub file: StrId,
    /// Line in it, from 1; 0 where unknown.
    pub line: u32,
    /// Line of its function's `func` keyword, from 1; 0 where unknown (before Go 1.20).
    pub start_line: u32,
    /// Program counter as it stands in the frame: a return address in all but the innermost.
    pub pc: Addr,
    /// Entry of the physical function that holds it.
    pub entry: Addr,
    /// Whether it was inlined into the next outer frame.
    pub inlined: bool,
    /// What it was compiled from.
    pub language: Language,
}

/// A frame's place in a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StackFrame {
    /// What.
    pub frame: FrameId,
    /// Its stack pointer, in bytes above the stack pointer where the stack starts.
    pub sp_offset: u64,
    /// Its frame pointer (top of the frame), likewise.
    pub fp_offset: u64,
    /// Whether the runtime's own traceback leaves it out at its normal level (its own frames and
    /// wrappers).
    pub hidden: bool,
}

/// A stack, innermost frame first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Stack {
    /// Its frames, innermost first.
    pub frames: Vec<StackFrame>,
}

/// A frame below a call out of Go, in code that Go's own tables do not know (C, mostly).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ForeignFrame {
    /// Name as the symbol table has it; `None` where that has none for this place.
    pub function: Option<StrId>,
    /// Path of the file that the code is in; empty where it is in none.
    pub object: StrId,
    /// Program counter: a return address in all but the innermost frame.
    pub pc: Addr,
    /// How far the program counter is into the function, or, where its name is not known, which
    /// address the file has for it; bytes.
    pub offset: u64,
}

/// What a goroutine that called out of Go does there, innermost frame first. Behind the last one,
/// its Go stack goes on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ForeignStack {
    /// Its frames, innermost first.
    pub frames: Vec<ForeignFrame>,
    /// Whether these are all of them. If not, those between the last one and Go are not known.
    pub complete: bool,
    /// Number of the system call that the thread waits in, by the table of its architecture.
    pub syscall: Option<u64>,
}

/// One pprof label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label {
    /// Key.
    pub key: StrId,
    /// Value.
    pub value: StrId,
}

/// One ancestor (`GODEBUG=tracebackancestors=N`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ancestor {
    /// Its id.
    pub id: Goid,
    /// Its stack when it created the next one, innermost first.
    pub frames: Vec<FrameId>,
    /// Where it was created itself.
    pub creator: Option<FrameId>,
}

/// Interned values. Ids are only made by the pool that resolves them.
#[derive(Clone, Debug, Default)]
pub struct SymbolPool {
    strings: Interner<Box<str>>,
    frames: Interner<Frame>,
    stacks: Interner<Stack>,
    labels: Interner<Vec<Label>>,
    ancestors: Interner<Vec<Ancestor>>,
    foreign: Interner<ForeignStack>,
}

#[derive(Clone, Debug)]
struct Interner<T> {
    values: Vec<T>,
    ids: FxHashMap<T, Number>,
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self { values: Vec::new(), ids: FxHashMap::default() }
    }
}

impl<T: Clone + Eq + std::hash::Hash> Interner<T> {
    fn intern(&mut self, value: T) -> Number {
        if let Some(&id) = self.ids.get(&value) {
            return id;
        }
        // More than 2³² distinct values do not fit in memory; the last id would be shared.
        self.values.push(value.clone());
        let id = u32::try_from(self.values.len()).ok().and_then(Number::new).unwrap_or(Number::MAX);
        self.ids.insert(value, id);
        id
    }

    fn get(&self, id: Number) -> Option<&T> {
        self.values.get(usize::try_from(id.get()).ok()?.checked_sub(1)?)
    }
}

impl SymbolPool {
    /// The id of a string.
    pub fn intern_str(&mut self, text: &str) -> StrId {
        if let Some(&id) = self.strings.ids.get(text) {
            return StrId(id);
        }
        StrId(self.strings.intern(text.into()))
    }

    /// The id of a frame.
    pub fn intern_frame(&mut self, frame: Frame) -> FrameId {
        FrameId(self.frames.intern(frame))
    }

    /// The id of a stack.
    pub fn intern_stack(&mut self, stack: Stack) -> StackId {
        StackId(self.stacks.intern(stack))
    }

    /// The id of a set of labels, which the caller has sorted by key.
    pub fn intern_labels(&mut self, labels: Vec<Label>) -> LabelsId {
        LabelsId(self.labels.intern(labels))
    }

    /// The id of a chain of ancestors, nearest first.
    pub fn intern_ancestors(&mut self, ancestors: Vec<Ancestor>) -> AncestorsId {
        AncestorsId(self.ancestors.intern(ancestors))
    }

    /// The id of a C stack.
    pub fn intern_foreign(&mut self, stack: ForeignStack) -> ForeignStackId {
        ForeignStackId(self.foreign.intern(stack))
    }

    /// The text of a string; empty for an id of another pool.
    #[must_use]
    pub fn str(&self, id: StrId) -> &str {
        self.strings.get(id.0).map_or("", |s| s)
    }

    /// A frame.
    #[must_use]
    pub fn frame(&self, id: FrameId) -> Option<&Frame> {
        self.frames.get(id.0)
    }

    /// A stack.
    #[must_use]
    pub fn stack(&self, id: StackId) -> Option<&Stack> {
        self.stacks.get(id.0)
    }

    /// A C stack.
    #[must_use]
    pub fn foreign(&self, id: ForeignStackId) -> Option<&ForeignStack> {
        self.foreign.get(id.0)
    }

    /// A set of labels; empty for an id of another pool.
    #[must_use]
    pub fn labels(&self, id: LabelsId) -> &[Label] {
        self.labels.get(id.0).map_or(&[], Vec::as_slice)
    }

    /// A chain of ancestors; empty for an id of another pool.
    #[must_use]
    pub fn ancestors(&self, id: AncestorsId) -> &[Ancestor] {
        self.ancestors.get(id.0).map_or(&[], Vec::as_slice)
    }

    /// A function's name by its frame; empty for an id of another pool.
    #[must_use]
    pub fn function(&self, id: FrameId) -> &str {
        self.frame(id).map_or("", |frame| self.str(frame.function))
    }

    /// How many distinct stacks there are.
    #[must_use]
    pub fn stack_count(&self) -> usize {
        self.stacks.values.len()
    }
}
