//! Words of arguments with the names and types of parameters: which word is whose.
//!
//! The words are those that tracebacks print, and so are the rules: what the compiler noted of a function's
//! arguments (`EmitArgInfo` in cmd/compile/internal/ssagen) leaves out the first parameter of a function whose
//! linker name has a `[`, which is meant to be the dictionary of a generic one. In other functions with such
//! names that is the receiver of a generic method, after its dictionary, or the first parameter of a closure.
//! What does not fit is not named.

use super::traceback::{ArgumentToken, FrameWords};
pub use crate::image::dwarf::{Parameter, Shape, ValueType};

/// What is known of an argument or a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A word.
    Word(u64),
    /// A word that may be anything by now.
    Stale,
    /// A word that could not be read, or is too far from the others to be noted.
    Unknown,
    /// The parts of a string, slice, interface, complex number, structure or array.
    Parts {
        /// In order.
        parts: Vec<Value>,
        /// Whether more follow.
        more: bool,
    },
}

impl Value {
    /// Its parts, if it has exactly so many, each one known.
    #[must_use]
    pub fn words<const N: usize>(&self) -> Option<[u64; N]> {
        let Self::Parts { parts, more: false } = self else { return None };
        let words: Vec<u64> = parts
            .iter()
            .map(|part| if let Self::Word(word) = part { Some(*word) } else { None })
            .collect::<Option<_>>()?;
        words.try_into().ok()
    }
}

/// The arguments of a frame, and whether more follow.
#[must_use]
pub fn values(words: &FrameWords<'_>) -> (Vec<Value>, bool) {
    // The outermost is the frame itself.
    let mut open: Vec<(Vec<Value>, bool)> = vec![(Vec::new(), false)];
    for (token, word) in words.pieces() {
        let value = match token {
            ArgumentToken::Open => {
                open.push((Vec::new(), false));
                continue;
            }
            ArgumentToken::Close if open.len() > 1 => match open.pop() {
                Some((parts, more)) => Value::Parts { parts, more },
                None => continue,
            },
            ArgumentToken::Close => continue,
            ArgumentToken::More => {
                if let Some((_, more)) = open.last_mut() {
                    *more = true;
                }
                continue;
            }
            ArgumentToken::TooFar => Value::Unknown,
            ArgumentToken::Word { dead: true, .. } => Value::Stale,
            ArgumentToken::Word { .. } => word.map_or(Value::Unknown, Value::Word),
        };
        if let Some((parts, _)) = open.last_mut() {
            parts.push(value);
        }
    }
    // Aggregates that do not end have no end in the table either.
    open.into_iter().next().unwrap_or_default()
}

/// The parameters that `count` arguments of `function`, as the linker names it, belong to, `more` of them if not all
/// are printed; an element is `None` for a dictionary. `None` where they do not fit.
#[must_use]
pub fn named<'p>(
    function: &str,
    parameters: &'p [Parameter],
    (count, more): (usize, bool),
) -> Option<Vec<Option<&'p Parameter>>> {
    let own: Vec<&Parameter> = parameters.iter().filter(|parameter| parameter.name != ".dict").collect();
    let all = |from: usize| own.iter().skip(from).take(count).map(|parameter| Some(*parameter)).collect();
    let Some((_, after)) = function.rsplit_once(']') else {
        return (own.len() == count || (more && own.len() > count)).then(|| all(0));
    };
    if more {
        return None;
    }
    if own.len() == count.checked_add(1)? {
        return Some(all(1));
    }
    if own.len() != count {
        return None;
    }
    // A method's dictionary stands where its receiver is left out.
    let is_method = after.contains('.');
    Some(own.iter().enumerate().map(|(index, one)| (index > 0 || !is_method).then_some(*one)).collect())
}

/// Calls `visit` with the address and length of every string in `value`, which is of this type.
pub fn visit_strings(kind: &ValueType, value: &Value, visit: &mut impl FnMut(u64, u64)) {
    visit_pairs(kind, value, &mut |shape, [data, len]| {
        if *shape == Shape::String {
            visit(data, len);
        }
    });
}

/// Gives the first words of the interfaces in a value to `visit`: a type, or an itab.
pub fn visit_interfaces(kind: &ValueType, value: &Value, visit: &mut impl FnMut(u64)) {
    visit_pairs(kind, value, &mut |shape, [of_type, _]| {
        if *shape == Shape::Interface {
            visit(of_type);
        }
    });
}

/// Gives what consists of two words, which are both known, to `visit`.
fn visit_pairs(kind: &ValueType, value: &Value, visit: &mut dyn FnMut(&Shape, [u64; 2])) {
    match (&kind.shape, value) {
        (Shape::String | Shape::Interface, value) => {
            if let Some(words) = value.words() {
                visit(&kind.shape, words);
            }
        }
        (Shape::Struct(fields), Value::Parts { parts, .. }) => {
            fields.iter().zip(parts).for_each(|((_, kind), part)| visit_pairs(kind, part, visit));
        }
        (Shape::Array(_, kind), Value::Parts { parts, .. }) => {
            parts.iter().for_each(|part| visit_pairs(kind, part, visit));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn parameters(names: &[&str]) -> Vec<Parameter> {
        let kind = Arc::new(ValueType { name: "int".to_owned(), shape: Shape::Int(8) });
        names.iter().map(|name| Parameter { name: (*name).to_owned(), kind: Arc::clone(&kind) }).collect()
    }

    fn names(function: &str, names: &[&str], count: usize, more: bool) -> Option<String> {
        let parameters = parameters(names);
        let found = named(function, &parameters, (count, more))?;
        Some(found.iter().map(|one| one.map_or(".dict", |one| one.name.as_str())).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn arguments_have_the_names_that_the_compiler_left_them() {
        let is = |text: &str| Some(text.to_owned());
        assert_eq!(names("main.f", &["a", "b"], 2, false), is("a b"));
        assert_eq!(names("main.f", &["a", "b", "c"], 2, true), is("a b"));
        assert_eq!(names("main.f", &["a", "b", "c"], 2, false), None);
        assert_eq!(names("main.f", &[], 2, false), None);
        // Generic: function, method of a value and of a pointer, closure with and without parameters.
        assert_eq!(names("main.g[go.shape.int]", &[".dict", "v", "n"], 2, false), is("v n"));
        assert_eq!(names("main.pair[go.shape.int].m", &[".dict", "p", "n"], 2, false), is(".dict n"));
        assert_eq!(names("main.(*pair[go.shape.int]).m", &["p", "n"], 2, false), is(".dict n"));
        assert_eq!(names("main.g[go.shape.int].func1", &["a", "b"], 1, false), is("b"));
        assert_eq!(names("main.g[go.shape.int].func1", &[], 0, false), is(""));
        assert_eq!(names("main.g[go.shape.int]", &["v", "n"], 2, true), None);
    }
}
