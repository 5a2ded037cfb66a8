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
