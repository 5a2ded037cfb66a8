//! `runtime.moduledata`, as far as its fields are not in the same place in every version. The others are in
//! `image::moduledata`, by which it is found.

use super::mirror;

mirror! {
    /// What is read of a `runtime.moduledata` (symtab.go), as it is in memory.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Moduledata, ModuledataLayout of "runtime.moduledata" {
        /// `types`: where descriptors of types begin.
        types: u64 = "types",
        /// `etypes`: where they end.
        etypes: u64 = "etypes",
        /// `gofunc`: base of what functions refer to, their trees of inlined calls among it.
        gofunc: u64 = "gofunc",
    }
}

mirror! {
    /// Of the same, what says which of a module's variables are pointers.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct ModuleMasks, ModuleMasksLayout of "runtime.moduledata" {
        /// `data`: where initialised variables with pointers begin.
        data: u64 = "data",
        /// `edata`: where they end.
        data_end: u64 = "data" + 8,
        /// `bss`: where zeroed variables with pointers begin.
        bss: u64 = "bss",
        /// `ebss`: where they end.
        bss_end: u64 = "bss" + 8,
        /// `gcdatamask.n`: bits of the mask of data, one a word.
        data_bits: i32 = "gcdatamask",
        /// `gcdatamask.bytedata`: where they are.
        data_mask: u64 = "gcdatamask" + 8,
        /// `gcbssmask.n`: bits of the mask of bss, one a word.
        bss_bits: i32 = "gcbssmask",
        /// `gcbssmask.bytedata`: where they are.
        bss_mask: u64 = "gcbssmask" + 8,
        /// `rodata`: what masks of variables on stacks are relative to.
        rodata: u64 = "rodata",
        /// `next`: the next module; 0 for none.
        next: u64 = "next",
    }
}
