//! Names of addresses: `num_symbols: 1`, and then a line for each address that is in a function.

use axum::http::Method;

use super::Profiler;
use crate::addr::Addr;
use crate::go_names::minor_of;
use crate::heap::profile::Names;
use crate::report::clean::clean;
use crate::report::profile::shown_name;
use crate::serve::answer::{Answer, TEXT};

impl Profiler<'_> {
    /// Addresses are those of the body of a POST, or of the whole query, with `+` between.
    pub(super) fn symbols(&self) -> Result<Answer, Answer> {
        let words = match self.call.method {
            Method::POST => String::from_utf8_lossy(&self.call.body).into_owned(),
            _ => self.call.raw_query().to_owned(),
        };
        let addresses: Vec<u64> = words.split('+').filter_map(address).collect();
        let minor = minor_of(&self.read(|program| program.description())?.target.go_version).unwrap_or(u32::MAX);
        let mut text = "num_symbols: 1\n".to_owned();
        if !addresses.is_empty() {
            let names = self.read(|program| {
                program.read(|session| {
                    let names = Names::new(session.process());
                    Ok(addresses.iter().map(|pc| names.function_at(Addr(*pc))).collect::<Vec<_>>())
                })
            })?;
            for (pc, name) in addresses.iter().zip(names) {
                if let Some(name) = name {
                    text.push_str(&format!("{pc:#x} {}\n", clean(&shown_name(&name, minor))));
                }
            }
        }
        Ok(Answer::ok(TEXT, text.into_bytes()))
    }
}

/// A number as `strconv.ParseUint(word, 0, 64)` reads it; what is none, and 0, is left out.
fn address(word: &str) -> Option<u64> {
    let word = word.trim();
    let digits = |prefix: [&str; 2]| prefix.iter().find_map(|prefix| word.strip_prefix(prefix));
    let number = match (digits(["0x", "0X"]), digits(["0b", "0B"]), digits(["0o", "0O"])) {
        (Some(digits), _, _) => u64::from_str_radix(digits, 16),
        (_, Some(digits), _) => u64::from_str_radix(digits, 2),
        (_, _, Some(digits)) => u64::from_str_radix(digits, 8),
        _ => word.parse(),
    };
    number.ok().filter(|number| *number != 0)
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn addresses_are_numbers_of_any_base() {
        for (word, want) in
            [("0x401000", Some(0x40_1000)), ("4198400", Some(0x40_1000)), ("0b11", Some(3)), ("0o17", Some(15))]
        {
            assert_eq!(address(word), want, "{word}");
        }
        for word in ["", "0", "0x0", "x", "-1", "0x", "0x1ffffffffffffffff", "18446744073709551616"] {
            assert_eq!(address(word), None, "{word}");
        }
    }
}
