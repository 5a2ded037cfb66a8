//! What there is to ask for, and with which parameters.
//!
//! A parameter is the option of the command that has its name, with `_` for `-`. Options that have no meaning over a
//! network, or that are not to be had over one, are not here: what stops a program, reads or writes a file, or shows
//! arguments and strings.

use axum::http::StatusCode;

use super::super::answer::Answer;
use crate::analysis::quantity::{DURATION_HELP, parse_duration};

/// What a command answers about a program.
pub(super) struct Route {
    /// The last element of the path.
    pub(super) name: &'static str,
    /// The command.
    pub(super) command: &'static str,
    /// What it answers, in a few words.
    pub(super) about: &'static str,
    /// Its documents, by the names of their schemas: which of them depends on the parameters.
    pub(super) documents: &'static [&'static str],
    /// What may be asked.
    pub(super) parameters: &'static [Parameter],
}

/// A parameter of a query.
pub(super) struct Parameter {
    /// Its name.
    pub(super) name: &'static str,
    /// What it takes.
    pub(super) kind: Kind,
    /// What it does.
    pub(super) about: &'static str,
}

/// What a parameter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text; may be repeated where the option may.
    Text,
    /// Text, or nothing for the usual one.
    Optional,
    /// A number.
    Number,
    /// A time of at most [`LONGEST`], as `10s`.
    Time,
    /// `true` or `false`; nothing is true.
    Flag,
}

/// Longest time that a request may ask to measure over, ns.
const LONGEST: u64 = 60_000_000_000;

const fn text(name: &'static str, about: &'static str) -> Parameter {
    Parameter { name, kind: Kind::Text, about }
}

const fn optional(name: &'static str, about: &'static str) -> Parameter {
    Parameter { name, kind: Kind::Optional, about }
}

const fn number(name: &'static str, about: &'static str) -> Parameter {
    Parameter { name, kind: Kind::Number, about }
}

const fn time(name: &'static str, about: &'static str) -> Parameter {
    Parameter { name, kind: Kind::Time, about }
}

const fn flag(name: &'static str, about: &'static str) -> Parameter {
    Parameter { name, kind: Kind::Flag, about }
}

const FILTER: Parameter = text("filter", "Only matching goroutines, as state=waiting and age>5m");
const GOID: Parameter = text("goid", "Only these ids: 7, 18,19 or 8-15");
const SORT: Parameter = text("sort", "Order of the list");
const REVERSE: Parameter = flag("reverse", "The other way round");
const LIMIT: Parameter = number("limit", "At most so many rows; 0 for all");
const GROUP: Parameter = optional("group", "One row for each place, stack, state, wait, label=KEY, …");
const GROUP_BY: Parameter = text("group_by", "The same");

/// What there is of each program.
pub(super) const ROUTES: &[Route] = &[
    Route {
        name: "summary",
        command: "summary",
        about: "Goroutines, scheduler, heap and collector",
        documents: &["snapshot"],
        parameters: &[
            FILTER,
            GOID,
            SORT,
            REVERSE,
            LIMIT,
            flag("all", "One row for each goroutine"),
            GROUP,
            GROUP_BY,
            text("pc", "Place to show: user, current, start, creator"),
            flag("system", "The runtime's own frames as places"),
            flag("show_dead", "Dead goroutines too"),
            time("watch", "Measure over this time for how long goroutines have been blocked"),
        ],
    },
    Route {
        name: "stacks",
        command: "stack",
        about: "Stacks of goroutines",
        documents: &["snapshot"],
        parameters: &[
            FILTER,
            GOID,
            SORT,
            REVERSE,
            LIMIT,
            flag("all", "One row for each goroutine"),
            GROUP,
            GROUP_BY,
            flag("similar", "One row for stacks that differ only within the runtime"),
        ],
    },
    Route {
        name: "waits",
        command: "waits",
        about: "What goroutines wait on",
        documents: &["waits"],
        parameters: &[FILTER, text("sort", "Order: waiting, age, kind, address"), REVERSE, LIMIT],
    },
    Route {
        name: "why",
        command: "why",
        about: "Why the program, or one goroutine, does not go on",
        documents: &["why"],
        parameters: &[number("goid", "The goroutine"), flag("leaks", "Read the heap too: proves leaks and deadlocks")],
    },
    Route {
        name: "leaks",
        command: "leaks",
        about: "Goroutines that nothing can wake any more",
        documents: &["leaks"],
        parameters: &[],
    },
    Route {
        name: "heap",
        command: "heap",
        about: "The heap by allocation site and size, what grows, or live objects by type",
        documents: &["heap", "heap-growth", "heap-objects"],
        parameters: &[
            LIMIT,
            time("watch", "Watch for so long, and say what grows"),
            time("interval", "Time between readings"),
            flag("objects", "Live objects by type and by what keeps them"),
            text("only_from", "With objects: kept by this function or goroutine:ID only"),
            text("path_to", "With objects: shortest path to a type or an address"),
        ],
    },
    Route {
        name: "diff",
        command: "diff",
        about: "What changes between two readings",
        documents: &["diff"],
        parameters: &[
            number("seconds", "Time between them, 2 to 60; 5 by default"),
            text("by", "Group by stack, place, …"),
            flag("system", "The runtime's own goroutines too"),
        ],
    },
    Route {
        name: "check",
        command: "check",
        about: "Judges goroutines by rules",
        documents: &["check"],
        parameters: &[
            number("max_goroutines", "At most so many goroutines"),
            text("max_growth", "At most so many more, or N%"),
            number("max_group", "At most so many with the same stack"),
            text("max_wait", "No goroutine blocked for longer"),
            text("forbid_function", "No goroutine in such a function"),
            text("require_function", "At least one goroutine in such a function"),
            flag("no_findings", "No definite problems"),
            flag("no_leaks", "No goroutine that can never wake"),
            text("max_heap_growth", "Live heap grows steadily by at most this rate, as 1MiB/m"),
            text("allow", "Goroutines in this function are ignored"),
            flag("system", "The runtime's own goroutines too"),
            time("watch", "Sample for so long; steady growth fails"),
            time("interval", "Time between samples"),
        ],
    },
];

/// What there is of all programs.
pub(super) const PROCESSES: Route = Route {
    name: "processes",
    command: "ps",
    about: "The programs that are served, with their goroutines counted",
    documents: &["ps"],
    parameters: &[text("sort", "Order: pid, name, user, container, goroutines, threads"), REVERSE],
};

/// Options of commands that are not to be had over a network.
const WITHHELD: &[&str] = &[
    "freeze",
    "freeze_seccomp",
    "bin",
    "sysroot",
    "from",
    "at",
    "arguments",
    "values",
    "strings",
    "pprof",
    "profile",
    "baseline",
    "allow_file",
    "junit",
    "since",
    "graph",
];

impl Route {
    /// What would be typed after `gospy` for it.
    ///
    /// # Errors
    /// 400, for a parameter that it does not take.
    pub(super) fn arguments(&self, pid: Option<i32>, query: &[(String, String)]) -> Result<Vec<String>, Answer> {
        let mut arguments = vec![self.command.to_owned(), "--json".to_owned()];
        arguments.extend(pid.map(|pid| format!("--pid={pid}")));
        for (name, value) in query {
            let parameter = self.parameters.iter().find(|parameter| parameter.name == name);
            let parameter = parameter.ok_or_else(|| self.unknown(name))?;
            arguments.extend(parameter.option(value).map_err(|why| bad(format!("{name}: {why}")))?);
        }
        Ok(arguments)
    }

    fn unknown(&self, name: &str) -> Answer {
        if WITHHELD.contains(&name) {
            let why = "the server does not stop programs, use files, or show arguments and strings";
            return bad(format!("{name} cannot be asked for over the network: {why}"));
        }
        let names: Vec<&str> = self.parameters.iter().map(|parameter| parameter.name).collect();
        let name = crate::report::clean::clean(name);
        match names.as_slice() {
            [] => bad(format!("{name}: {} takes no parameters", self.name)),
            names => bad(format!("{name}: there is no such parameter; {} takes {}", self.name, names.join(", "))),
        }
    }
}

impl Parameter {
    /// The option with this value; `None` where it is left out.
    fn option(&self, value: &str) -> Result<Option<String>, String> {
        let name = format!("--{}", self.name.replace('_', "-"));
        match (self.kind, value) {
            (Kind::Flag, "" | "true" | "1") | (Kind::Optional, "") => Ok(Some(name)),
            (Kind::Flag, "false" | "0") => Ok(None),
            (Kind::Flag, _) => Err("expected true or false".to_owned()),
            (Kind::Time, value) => match parse_duration(value) {
                Some(ns) if ns <= LONGEST => Ok(Some(format!("{name}={value}"))),
                Some(_) => Err("the server measures for at most 60s".to_owned()),
                None => Err(DURATION_HELP.to_owned()),
            },
            (Kind::Text | Kind::Optional | Kind::Number, value) => Ok(Some(format!("{name}={value}"))),
        }
    }
}

pub(super) fn bad(why: impl Into<String>) -> Answer {
    Answer::text(StatusCode::BAD_REQUEST, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(name: &str) -> &'static Route {
        ROUTES.iter().find(|route| route.name == name).unwrap()
    }

    fn arguments(name: &str, query: &[(&str, &str)]) -> Option<Vec<String>> {
        let query: Vec<_> = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        route(name).arguments(Some(7), &query).ok()
    }

    #[test]
    fn parameters_are_options() {
        let query = [("filter", "state=waiting and age>5m"), ("all", ""), ("reverse", "false"), ("limit", "3")];
        let expected = ["summary", "--json", "--pid=7", "--filter=state=waiting and age>5m", "--all", "--limit=3"];
        assert_eq!(arguments("summary", &query).unwrap(), expected);
        assert_eq!(arguments("stacks", &[("group", "")]).unwrap()[3], "--group");
        assert_eq!(arguments("stacks", &[("group_by", "wait")]).unwrap()[3], "--group-by=wait");
        // A value is never an option.
        assert_eq!(arguments("waits", &[("filter", "--freeze=all")]).unwrap()[3], "--filter=--freeze=all");
    }

    #[test]
    fn what_is_withheld_is_in_no_table() {
        for route in ROUTES.iter().chain([&PROCESSES]) {
            for parameter in route.parameters {
                assert!(!WITHHELD.contains(&parameter.name), "{}.{}", route.name, parameter.name);
            }
            for name in WITHHELD.iter().chain(&["json", "quiet", "help", "pid", "output", "-q", ""]) {
                let query = [((*name).to_owned(), "all".to_owned())];
                assert!(route.arguments(Some(7), &query).is_err(), "{}?{name}", route.name);
            }
        }
        assert!(arguments("summary", &[("watch", "61s")]).is_none());
        assert!(arguments("summary", &[("watch", "60s")]).is_some());
        assert!(arguments("summary", &[("all", "yes")]).is_none());
    }
}
