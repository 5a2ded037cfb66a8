//! Interned names, places, stacks and labels.

mod entries;

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

pub(crate) use self::entries::{PoolEntry, PoolLen};
use super::Goid;
use super::interner::{Interner, Number, Owns};
use crate::addr::Addr;

/// Which pool it is. Ids of values mean the same in all pools of one identity, and nothing in others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PoolId(u64);

impl PoolId {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A string in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StrId(Number);

/// A place in code in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FrameId(Number);

/// A stack in the pool; equal ids mean identical stacks, frame by frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StackId(Number);

/// A set of labels in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LabelsId(Number);

/// A chain of ancestors in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AncestorsId(Number);

/// A C stack in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ForeignStackId(Number);

/// What a frame was compiled from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Language {
    /// Go, or Go assembly: known through pclntab.
    Go,
    /// Anything else (C below a cgo call): known as far as symbols allow.
    Foreign,
}

/// A place in code: one logical frame, either a function or a call inlined into it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Frame {
    /// Full name as the runtime has it (`pkg.(*T).Method`, `pkg.F[...]`, `pkg.f.func1`).
    pub function: StrId,
    /// Source file; empty where unknown.
    pub file: StrId,
    /// Line in it, from 1; 0 where unknown.
    pub line: u32,
    /// Line of its function's `func` keyword, from 1; 0 where unknown (before Go 1.20).
    pub start_line: u32,
    /// Program counter as found in the frame: a return address in all but the innermost.
    pub pc: Addr,
    /// Entry of the physical function that holds it.
    pub entry: Addr,
    /// Whether it was inlined into the next outer frame.
    pub inlined: bool,
    /// What it was compiled from.
    pub language: Language,
}

/// A frame's place in a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stack {
    /// Its frames, innermost first.
    pub frames: Vec<StackFrame>,
}

/// A frame below a call out of Go, in code that Go's own tables do not know (C, mostly).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ForeignFrame {
    /// Name as the symbol table has it; `None` where it has none for this address.
    pub function: Option<StrId>,
    /// Path of the file that the code is in; empty where it is in none.
    pub object: StrId,
    /// Program counter: a return address in all but the innermost frame.
    pub pc: Addr,
    /// Offset of the program counter in the function, or, where its name is unknown, its address in the file;
    /// bytes.
    pub offset: u64,
}

/// C frames of a goroutine that called out of Go, innermost first. Its Go stack follows the last one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ForeignStack {
    /// Its frames, innermost first.
    pub frames: Vec<ForeignFrame>,
    /// Whether these are all of them. If not, those between the last one and Go are unknown.
    pub complete: bool,
    /// Number of the system call that the thread waits in, in its architecture's table.
    pub syscall: Option<u64>,
}

/// One pprof label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Label {
    /// Key.
    pub key: StrId,
    /// Value.
    pub value: StrId,
}

/// A frame of an ancestor as tracebacks print it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AncestorFrame {
    /// The innermost function inlined there, with the line of the return address itself, which may be the one
    /// after the call's.
    pub frame: FrameId,
    /// Whether the runtime's own traceback leaves it out at its normal level.
    pub hidden: bool,
}

/// One ancestor (`GODEBUG=tracebackancestors=N`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ancestor {
    /// Its id.
    pub id: Goid,
    /// Its stack when it created the next one, innermost first.
    pub frames: Vec<FrameId>,
    /// The same as tracebacks print it; empty where that is not known.
    pub printed: Vec<AncestorFrame>,
    /// Where it was created itself.
    pub creator: Option<FrameId>,
}

impl Owns for Vec<Label> {
    fn owned_bytes(&self) -> usize {
        size_of_val(self.as_slice())
    }
}

impl Owns for Vec<Ancestor> {
    fn owned_bytes(&self) -> usize {
        let of_one = |one: &Ancestor| size_of_val(one.frames.as_slice()) + size_of_val(one.printed.as_slice());
        let frames: usize = self.iter().map(of_one).sum();
        size_of_val(self.as_slice()).saturating_add(frames)
    }
}

impl Owns for Frame {
    fn owned_bytes(&self) -> usize {
        0
    }
}

impl Owns for Stack {
    fn owned_bytes(&self) -> usize {
        size_of_val(self.frames.as_slice())
    }
}

impl Owns for ForeignStack {
    fn owned_bytes(&self) -> usize {
        size_of_val(self.frames.as_slice())
    }
}

/// Interned values. Ids are only made by the pool that resolves them.
///
/// Values are appended and never change, so an id stays valid in everything that has the same
/// [identity](Self::id). [`Self::view`] is what a snapshot holds: it shares the values that are there when it
/// is made.
#[derive(Debug)]
pub struct SymbolPool {
    id: PoolId,
    /// Whether it is a read-only view; adding a value makes it a separate pool.
    is_view: bool,
    strings: Interner<Box<str>>,
    frames: Interner<Frame>,
    stacks: Interner<Stack>,
    labels: Interner<Vec<Label>>,
    ancestors: Interner<Vec<Ancestor>>,
    foreign: Interner<ForeignStack>,
}

impl Default for SymbolPool {
    fn default() -> Self {
        Self {
            id: PoolId::new(),
            is_view: false,
            strings: Interner::default(),
            frames: Interner::default(),
            stacks: Interner::default(),
            labels: Interner::default(),
            ancestors: Interner::default(),
            foreign: Interner::default(),
        }
    }
}

impl Clone for SymbolPool {
    /// A pool with the same values, to be extended separately; ids that either makes from now on mean nothing
    /// in the other, so the clone has its own identity.
    fn clone(&self) -> Self {
        Self { id: PoolId::new(), ..self.view() }
    }
}

impl SymbolPool {
    /// Its identity.
    #[must_use]
    pub fn id(&self) -> PoolId {
        self.id
    }

    /// What is in it now, for reading, under the same identity. Costs a pointer for every thousand
    /// values.
    #[must_use]
    pub fn view(&self) -> Self {
        Self {
            id: self.id,
            is_view: true,
            strings: self.strings.view(),
            frames: self.frames.view(),
            stacks: self.stacks.view(),
            labels: self.labels.view(),
            ancestors: self.ancestors.view(),
            foreign: self.foreign.view(),
        }
    }

    /// Makes sure that values can be added. A view may lack values that its pool has gained since, so adding
    /// to one gives it a new identity.
    fn open(&mut self) {
        if std::mem::take(&mut self.is_view) {
            self.id = PoolId::new();
            self.strings.index();
            self.frames.index();
            self.stacks.index();
            self.labels.index();
            self.ancestors.index();
            self.foreign.index();
        }
    }

    /// The id of a string.
    pub fn intern_str(&mut self, text: &str) -> StrId {
        self.open();
        StrId(self.strings.intern_as(text))
    }

    /// The id of a frame.
    pub fn intern_frame(&mut self, frame: Frame) -> FrameId {
        self.open();
        FrameId(self.frames.intern(frame))
    }

    /// The id of a stack.
    pub fn intern_stack(&mut self, stack: Stack) -> StackId {
        self.open();
        StackId(self.stacks.intern(stack))
    }

    /// The id of a set of labels, which the caller has sorted by key.
    pub fn intern_labels(&mut self, labels: Vec<Label>) -> LabelsId {
        self.open();
        LabelsId(self.labels.intern(labels))
    }

    /// The id of a chain of ancestors, nearest first.
    pub fn intern_ancestors(&mut self, ancestors: Vec<Ancestor>) -> AncestorsId {
        self.open();
        AncestorsId(self.ancestors.intern(ancestors))
    }

    /// The id of a C stack.
    pub fn intern_foreign(&mut self, stack: ForeignStack) -> ForeignStackId {
        self.open();
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

    /// The value that a set of labels has for `key`.
    #[must_use]
    pub fn label(&self, id: LabelsId, key: &str) -> Option<StrId> {
        self.labels(id).iter().find(|label| self.str(label.key) == key).map(|label| label.value)
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

    /// Memory that the values use, approximately, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        [
            self.strings.bytes(),
            self.frames.bytes(),
            self.stacks.bytes(),
            self.labels.bytes(),
            self.ancestors.bytes(),
            self.foreign.bytes(),
        ]
        .into_iter()
        .fold(0, usize::saturating_add)
    }

    /// Number of distinct stacks.
    #[must_use]
    pub fn stack_count(&self) -> usize {
        self.stacks.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_to_a_view_has_another_identity() {
        for text in ["", "known"] {
            let mut pool = SymbolPool::default();
            if !text.is_empty() {
                pool.intern_str(text);
            }
            let (mut one, mut other) = (pool.view(), pool.view());
            assert_eq!((one.id(), other.id()), (pool.id(), pool.id()));
            // Both would be the next number, and mean different texts.
            let (in_one, in_other) = (one.intern_str("one"), other.intern_str("other"));
            assert_eq!((one.str(in_one), other.str(in_other)), ("one", "other"));
            assert!(one.id() != pool.id() && other.id() != pool.id() && one.id() != other.id(), "{text:?}");
            let id = one.id();
            one.intern_str("more");
            assert_eq!(one.id(), id);
            // The pool itself keeps its own.
            let before = pool.id();
            pool.intern_str("more");
            assert_eq!(pool.id(), before);
        }
    }
}
