//! Merges what the sources say about where a variable is.

use super::{Global, Located, SymbolSource, Symbols};
use crate::model::{WarningCode, Warnings};

impl Symbols {
    /// Adds what another source says. The first source to name a variable is the better one: a
    /// later one confirms it, or contradicts it with a warning.
    pub(crate) fn add(&mut self, global: Global, located: Located, warnings: &mut Warnings) {
        match self.get(global) {
            None => self.insert(global, located),
            Some(known) if known.addr == located.addr => self.confirm(global, located.source.to_string()),
            Some(known) => warnings.add(
                WarningCode::SymbolsDisagree,
                format!(
                    "{} is at {} by the {}, which is used, and at {} by the {}",
                    global.name(),
                    known.addr,
                    known.source,
                    located.addr,
                    located.source
                ),
            ),
        }
    }

    /// Whether it is known by the program's own symbols rather than by deduction.
    pub(crate) fn is_named(&self, global: Global) -> bool {
        self.get(global).is_some_and(|l| matches!(l.source, SymbolSource::Symtab | SymbolSource::Dwarf))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::LinkAddr;

    fn code() -> SymbolSource {
        SymbolSource::Code { detail: "runtime.allgadd".into() }
    }

    #[test]
    fn agreement_is_noted_and_disagreement_is_a_warning() {
        let mut symbols = Symbols::default();
        let mut warnings = Warnings::default();
        symbols.add(Global::Allgs, Located::new(LinkAddr(16), SymbolSource::Symtab), &mut warnings);
        symbols.add(Global::Allgs, Located::new(LinkAddr(16), code()), &mut warnings);
        assert!(warnings.is_empty());
        assert_eq!(symbols.get(Global::Allgs).unwrap().cross_checks, ["code of runtime.allgadd"]);
        symbols.add(
            Global::Allgs,
            Located::new(LinkAddr(24), SymbolSource::Scan { detail: "x".into() }),
            &mut warnings,
        );
        assert_eq!(symbols.addr(Global::Allgs), Some(LinkAddr(16)));
        let warning = warnings.iter().next().unwrap();
        assert_eq!(warning.code, WarningCode::SymbolsDisagree);
        assert!(warning.message.contains("runtime.allgs is at 0x10 (as linked) by the .symtab"), "{}", warning.message);
    }
}
