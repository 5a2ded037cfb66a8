//! From text to a [`Filter`].

use std::ops::Range;

use super::{Comparison, Expr, Filter, FilterError, FlagField, NumberField, TextField};
use crate::analysis::quantity::{parse_bytes, parse_duration};
use crate::model::{Status, WaitKind};

/// Deepest nesting of parentheses and `not`.
const MAX_DEPTH: usize = 64;
/// Largest compiled regular expression, bytes.
const MAX_PATTERN: usize = 1 << 20;
/// What bounds those of an expression together, bytes: the nth may be this divided by n. A thousand of the largest would
/// take gigabytes; a thousand plain words fit.
const ALL_PATTERNS: usize = 8 << 20;

const FIELDS: &str = "fields: state, reason, func, place, file, start, creator, label, label.KEY, age, id, parent, \
                      m, thread, bubble, stack, system, locked, kind, object, type, peer, fd, deadline, holder";

pub(super) fn parse(expression: &str) -> Result<Filter, FilterError> {
    let mut parser = Parser { text: expression, at: 0, slots: 0, with_parts: String::new(), copied: 0 };
    let expr = parser.any(0)?;
    parser.skip_space();
    if parser.at < expression.len() {
        let (problem, hint) = if parser.peek() == Some(')') {
            ("this parenthesis closes nothing", "quote a value that contains one")
        } else {
            ("expected `and`, `or` or the end here", "quote a value that has spaces: reason=\"chan receive\"")
        };
        let end = parser.word_end();
        return Err(parser.error(parser.at..end, problem, hint));
    }
    let with_parts = (parser.copied > 0).then(|| parser.with_parts + expression.get(parser.copied..).unwrap_or(""));
    Ok(Filter { expr, slots: parser.slots, with_parts })
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    slots: usize,
    /// The expression up to `copied` with `~` in the place of each `=` that wants a whole text.
    with_parts: String,
    copied: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Is,
    IsNot,
    Finds,
    FindsNot,
    Order(Comparison),
}

const OPERATORS: &[(&str, Operator)] = &[
    ("==", Operator::Is),
    ("=~", Operator::Finds),
    ("!=", Operator::IsNot),
    ("!~", Operator::FindsNot),
    ("<=", Operator::Order(Comparison::LessOrEqual)),
    (">=", Operator::Order(Comparison::GreaterOrEqual)),
    ("=", Operator::Is),
    ("~", Operator::Finds),
    ("<", Operator::Order(Comparison::Less)),
    (">", Operator::Order(Comparison::Greater)),
];

enum Field {
    Text(TextField),
    Number(NumberField),
    Flag(FlagField),
}

fn field(name: &str) -> Option<Field> {
    if let Some(key) = name.strip_prefix("label.")
        && !key.is_empty()
    {
        return Some(Field::Text(TextField::Label(key.to_owned())));
    }
    Some(match name.to_ascii_lowercase().as_str() {
        "state" => Field::Text(TextField::State),
        "reason" => Field::Text(TextField::Reason),
        "func" | "function" => Field::Text(TextField::Func),
        "place" => Field::Text(TextField::Place),
        "file" => Field::Text(TextField::File),
        "start" => Field::Text(TextField::Start),
        "creator" => Field::Text(TextField::Creator),
        "label" => Field::Text(TextField::AnyLabel),
        "age" => Field::Number(NumberField::Age),
        "id" => Field::Number(NumberField::Id),
        "parent" => Field::Number(NumberField::Parent),
        "m" => Field::Number(NumberField::M),
        "thread" => Field::Number(NumberField::Thread),
        "bubble" => Field::Number(NumberField::Bubble),
        "stack" => Field::Number(NumberField::Stack),
        "kind" => Field::Text(TextField::Kind),
        "type" => Field::Text(TextField::Type),
        "peer" => Field::Text(TextField::Peer),
        "object" => Field::Number(NumberField::Object),
        "fd" => Field::Number(NumberField::Fd),
        "deadline" => Field::Number(NumberField::Deadline),
        "holder" => Field::Number(NumberField::Holder),
        "system" => Field::Flag(FlagField::System),
        "locked" => Field::Flag(FlagField::Locked),
        _ => return None,
    })
}

impl<'a> Parser<'a> {
    fn error(&self, at: Range<usize>, problem: impl Into<String>, hint: impl Into<String>) -> FilterError {
        FilterError { expression: self.text.to_owned(), at, problem: problem.into(), hint: hint.into() }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn skip_space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn word_end(&self) -> usize {
        self.at + self.rest().find(char::is_whitespace).unwrap_or(self.rest().len())
    }

    /// Takes `word` or `symbol` if it is next; a word must end there.
    fn take(&mut self, word: &str, symbol: &str) -> bool {
        self.skip_space();
        let rest = self.rest();
        if rest.starts_with(symbol) {
            self.at += symbol.len();
            return true;
        }
        let Some((head, tail)) = rest.split_at_checked(word.len()) else { return false };
        let ends = tail.chars().next().is_none_or(|c| c.is_whitespace() || matches!(c, '(' | ')' | '!' | '"' | '\''))
            && !tail.starts_with("!=")
            && !tail.starts_with("!~");
        if ends && head.eq_ignore_ascii_case(word) {
            self.at += word.len();
            return true;
        }
        false
    }

    fn any(&mut self, depth: usize) -> Result<Expr, FilterError> {
        let mut terms = vec![self.all(depth)?];
        while self.take("or", "||") {
            terms.push(self.all(depth)?);
        }
        Ok(one_or(terms, Expr::Any))
    }

    fn all(&mut self, depth: usize) -> Result<Expr, FilterError> {
        let mut terms = vec![self.term(depth)?];
        while self.take("and", "&&") {
            terms.push(self.term(depth)?);
        }
        Ok(one_or(terms, Expr::All))
    }

    fn term(&mut self, depth: usize) -> Result<Expr, FilterError> {
        self.skip_space();
        let start = self.at;
        if depth > MAX_DEPTH {
            return Err(self.error(start..start, format!("nested more than {MAX_DEPTH} deep"), ""));
        }
        if self.take("not", "!") {
            return Ok(Expr::Not(Box::new(self.term(depth + 1)?)));
        }
        match self.peek() {
            None => Err(self.error(start..start, "something is missing here", FIELDS)),
            Some('(') => {
                self.at += 1;
                let inner = self.any(depth + 1)?;
                self.skip_space();
                if self.peek() != Some(')') {
                    let problem = "expected `and`, `or` or `)` here";
                    return Err(self.error(self.at..self.word_end(), problem, ""));
                }
                self.at += 1;
                Ok(inner)
            }
            Some('"' | '\'') => {
                let text = self.quoted()?;
                self.text_test(TextField::Func, &regex::escape(text), text, start..self.at)
            }
            Some(_) => self.comparison(),
        }
    }

    fn comparison(&mut self) -> Result<Expr, FilterError> {
        let start = self.at;
        let word = self.run(|c| matches!(c, '=' | '~' | '<' | '>' | '!' | '&' | '|' | '"' | '\''));
        let at = start..self.at;
        let after_word = self.at;
        self.skip_space();
        let Some((symbol, operator)) = OPERATORS.iter().find(|(symbol, _)| self.rest().starts_with(symbol)) else {
            self.at = after_word;
            return self.bare(word, at);
        };
        if word.is_empty() {
            return Err(self.error(at.start..at.start + symbol.len(), "a field is missing before this", FIELDS));
        }
        let Some(field) = field(word) else {
            return Err(self.error(at, format!("there is no field `{word}`"), FIELDS));
        };
        self.at += symbol.len();
        self.skip_space();
        let value_start = self.at;
        let value = match self.peek() {
            Some('"' | '\'') => self.quoted()?,
            _ => self.run(|_| false),
        };
        let value_at = value_start..self.at;
        if value.is_empty() && self.at == value_start {
            let problem = format!("a value is missing after `{symbol}`");
            return Err(self.error(value_at, problem, example(&field)));
        }
        if let (Field::Text(text), Operator::Is) = (&field, operator)
            && !matches!(text, TextField::State | TextField::Kind)
        {
            self.loosen(word, value, at.start);
        }
        self.test(field, *operator, value, at, value_at)
    }

    /// Copies the expression so far, but for a comparison from `start` on, which finds a part instead.
    fn loosen(&mut self, word: &str, value: &str, start: usize) {
        self.with_parts.push_str(self.text.get(self.copied..start).unwrap_or(""));
        let quote = match (value.contains(|c: char| c.is_whitespace() || c == '"'), value.contains('"')) {
            (false, _) => "",
            (true, false) => "\"",
            (true, true) => "'",
        };
        self.with_parts.push_str(&format!("{word}~{quote}{}{quote}", regex::escape(value)));
        self.copied = self.at;
    }

    fn bare(&mut self, word: &str, at: Range<usize>) -> Result<Expr, FilterError> {
        if word.is_empty() {
            return Err(self.error(at.start..self.word_end(), "a field or a word is expected here", FIELDS));
        }
        if ["and", "or"].iter().any(|keyword| word.eq_ignore_ascii_case(keyword)) {
            return Err(self.error(at, format!("a condition is missing before `{word}`"), FIELDS));
        }
        match field(word) {
            Some(Field::Flag(flag)) => Ok(Expr::Flag(flag)),
            Some(field) => {
                let problem = format!("`{word}` is a field: it needs an operator and a value");
                let hint = format!("{}; a function that contains the word: \"{word}\"", example(&field));
                Err(self.error(at, problem, hint))
            }
            None => self.text_test(TextField::Func, &regex::escape(word), word, at),
        }
    }

    fn test(
        &mut self,
        field: Field,
        operator: Operator,
        value: &str,
        at: Range<usize>,
        value_at: Range<usize>,
    ) -> Result<Expr, FilterError> {
        match (field, operator) {
            (Field::Text(field), Operator::Is | Operator::IsNot) => {
                let value = match (&field, state_named(value)) {
                    (TextField::State, Some(name)) => name,
                    (TextField::State, None) => {
                        let states: Vec<&str> = STATES.iter().map(|state| state.name()).collect();
                        let hint = format!("states: {}", states.join(", "));
                        return Err(self.error(value_at, format!("there is no state `{value}`"), hint));
                    }
                    (TextField::Kind, _) if WaitKind::ALL.iter().all(|kind| kind.name() != value) => {
                        let kinds: Vec<&str> = WaitKind::ALL.iter().map(|kind| kind.name()).collect();
                        let hint = format!("kinds: {}", kinds.join(", "));
                        return Err(self.error(value_at, format!("there is no kind `{value}`"), hint));
                    }
                    _ => value,
                };
                let whole = format!("^(?:{})$", regex::escape(value));
                let test = self.text_test(field, &whole, value, value_at)?;
                Ok(negated(test, operator == Operator::IsNot))
            }
            (Field::Text(field), Operator::Finds | Operator::FindsNot) => {
                let test = self.text_test(field, value, value, value_at)?;
                Ok(negated(test, operator == Operator::FindsNot))
            }
            (Field::Text(_), Operator::Order(_)) => {
                Err(self.error(at, "this field is text; it has no order", "operators: = != ~ !~"))
            }
            (Field::Number(field), Operator::Finds | Operator::FindsNot) => {
                let hint = format!("operators: = != < <= > >=; {}", example(&Field::Number(field)));
                Err(self.error(at, "this field is a number; a regular expression does not fit", hint))
            }
            (Field::Number(field), operator) => {
                let parsed = match field {
                    NumberField::Age | NumberField::Deadline => parse_duration(value),
                    NumberField::Stack => parse_bytes(value),
                    NumberField::Object => address(value),
                    _ => value.parse().ok(),
                };
                let Some(value) = parsed else {
                    let what = match field {
                        NumberField::Age | NumberField::Deadline => "a duration",
                        NumberField::Object => "an address",
                        NumberField::Stack => "a size in bytes",
                        _ => "a number",
                    };
                    let hint = example(&Field::Number(field));
                    return Err(self.error(value_at, format!("`{value}` is not {what}"), hint));
                };
                let test = |comparison| Expr::Number { field, comparison, value };
                Ok(match operator {
                    Operator::Order(comparison) => test(comparison),
                    // Not a negation: an unknown number is not unequal either.
                    Operator::IsNot => Expr::Any(vec![test(Comparison::Less), test(Comparison::Greater)]),
                    Operator::Is | Operator::Finds | Operator::FindsNot => test(Comparison::Equal),
                })
            }
            (Field::Flag(flag), Operator::Is | Operator::IsNot) => {
                let value = match value.to_ascii_lowercase().as_str() {
                    "true" | "yes" | "1" => true,
                    "false" | "no" | "0" => false,
                    _ => return Err(self.error(value_at, format!("`{value}` is neither true nor false"), "")),
                };
                Ok(negated(Expr::Flag(flag), value == (operator == Operator::IsNot)))
            }
            (Field::Flag(_), _) => Err(self.error(at, "this field is true or false", "write it alone, or with `not`")),
        }
    }

    /// A test of text. Case counts only where `typed` has a capital letter.
    fn text_test(
        &mut self,
        field: TextField,
        pattern: &str,
        typed: &str,
        at: Range<usize>,
    ) -> Result<Expr, FilterError> {
        let room = (ALL_PATTERNS / self.slots.saturating_add(1)).min(MAX_PATTERN);
        let ignore_case = !typed.chars().any(char::is_uppercase);
        let built = regex::RegexBuilder::new(pattern)
            .case_insensitive(ignore_case)
            .size_limit(room)
            .dfa_size_limit(room)
            .build();
        match built {
            Ok(pattern) => {
                let slot = self.slots;
                self.slots += 1;
                Ok(Expr::Text { field, pattern, slot })
            }
            Err(error) => {
                let text = error.to_string();
                let reason = text.lines().last().unwrap_or("").trim_start_matches("error: ");
                let problem = format!("this is not a regular expression: {reason}");
                Err(self.error(at, problem, "for a plain text use = or quote it alone"))
            }
        }
    }

    /// Characters up to a space, a closing parenthesis that was not opened here, or `stop`.
    fn run(&mut self, stop: impl Fn(char) -> bool) -> &'a str {
        let start = self.at;
        let mut open = 0_usize;
        let mut escaped = false;
        for c in self.rest().chars() {
            if c.is_whitespace() || (stop(c) && !escaped) {
                break;
            }
            if !escaped && c == '(' {
                open += 1;
            }
            if !escaped && c == ')' {
                match open.checked_sub(1) {
                    Some(less) => open = less,
                    None => break,
                }
            }
            escaped = c == '\\' && !escaped;
            self.at += c.len_utf8();
        }
        self.text.get(start..self.at).unwrap_or("")
    }

    fn quoted(&mut self) -> Result<&'a str, FilterError> {
        let start = self.at;
        let Some(quote) = self.peek() else { return Ok("") };
        let body = start + quote.len_utf8();
        let Some(length) = self.text.get(body..).and_then(|rest| rest.find(quote)) else {
            return Err(self.error(start..self.text.len(), "this quotation does not end", ""));
        };
        self.at = body + length + quote.len_utf8();
        Ok(self.text.get(body..body + length).unwrap_or(""))
    }
}

fn one_or(mut terms: Vec<Expr>, many: impl FnOnce(Vec<Expr>) -> Expr) -> Expr {
    match (terms.len(), terms.pop()) {
        (1, Some(only)) => only,
        (_, last) => {
            terms.extend(last);
            many(terms)
        }
    }
}

fn negated(expr: Expr, negate: bool) -> Expr {
    if negate { Expr::Not(Box::new(expr)) } else { expr }
}

const STATES: &[Status] = &[
    Status::Idle,
    Status::Runnable,
    Status::Running,
    Status::Syscall,
    Status::Waiting,
    Status::Dead,
    Status::CopyStack,
    Status::Preempted,
    Status::Leaked,
    Status::DeadExtra,
    Status::Unknown(0),
];

/// `0x` and digits.
fn address(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

/// The state of that name in the runtime's spelling.
fn state_named(value: &str) -> Option<&'static str> {
    STATES.iter().map(|state| state.name()).find(|name| name.eq_ignore_ascii_case(value))
}

fn example(field: &Field) -> &'static str {
    match field {
        Field::Text(TextField::State) => "as in state=waiting",
        Field::Text(TextField::Reason) => "as in reason~chan or reason=\"chan receive\"",
        Field::Text(TextField::File) => "as in file~server.go",
        Field::Text(TextField::AnyLabel | TextField::Label(_)) => "as in label.user=alice",
        Field::Number(NumberField::Age) => "as in age>5m",
        Field::Number(NumberField::Stack) => "as in stack>64KB",
        Field::Number(NumberField::Object) => "as in object=0xc000012345",
        Field::Number(NumberField::Deadline) => "as in deadline<10s",
        Field::Number(NumberField::Fd) => "as in fd=9",
        Field::Text(TextField::Kind) => "as in kind=mutex",
        Field::Text(TextField::Peer) => "as in peer~:5432",
        Field::Text(_) => "as in func~main.worker",
        Field::Number(_) => "as in id=18",
        Field::Flag(_) => "as in not system",
    }
}
