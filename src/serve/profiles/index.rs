//! What there is, for people: a page without scripts.

use axum::http::HeaderValue;
use axum::http::header::CONTENT_SECURITY_POLICY;

use super::{NO_ARGUMENTS, NO_TRACE, Named, Profiler};
use crate::model::CountProfile;
use crate::serve::answer::Answer;

const HTML: &str = "text/html; charset=utf-8";

impl Profiler<'_> {
    /// The profiles with how much is in each, and why some are not there.
    pub(super) fn index(&self) -> Result<Answer, Answer> {
        let (runtime, _) = self.read(|program| program.metrics())?;
        let number = |count: Option<u64>| count.map_or_else(String::new, |count| count.to_string());
        let sites = |count: usize| count.to_string();
        let mut rows = String::new();
        for named in Named::ALL {
            let count: Result<String, Answer> = match named {
                Named::Goroutine => Ok(number(runtime.goroutines)),
                Named::Goroutineleak => Ok(String::new()),
                Named::Heap | Named::Allocs => self.allocation_profile().map(|profile| sites(profile.sites.len())),
                Named::Block | Named::Mutex => self.contention_profile(named).map(|profile| sites(profile.sites.len())),
                Named::Threadcreate => self.thread_profile().map(|profile| number(Some(CountProfile::total(&profile)))),
            };
            let name = named.name();
            let (count, link) = match count {
                Ok(count) => (count, format!("<a href=\"{name}?debug=1\">{name}</a>")),
                Err(why) => {
                    let why = why.whole_text();
                    rows.push_str(&row("", name, &format!("Not there: {}", escaped(why.trim_end()))));
                    continue;
                }
            };
            rows.push_str(&row(&count, &link, described(named)));
        }
        let linked = |name: &str, query: &str| format!("<a href=\"{name}{query}\">{name}</a>");
        for (count, name, what) in [
            ("", linked("profile", "?seconds=30"), "What it does on CPUs, sampled by the kernel's perf events."),
            (
                "",
                linked("../fgprof", "?seconds=30"),
                "What its goroutines do, on CPUs and waiting, as fgprof records it.",
            ),
            ("", linked("symbol", ""), "Names of addresses that are given as the query, with + between."),
            ("", "cmdline".to_owned(), &format!("Not there: {}", escaped(NO_ARGUMENTS))),
            ("", "trace".to_owned(), &format!("Not there: {}", escaped(NO_TRACE))),
        ] {
            rows.push_str(&row(count, &name, what));
        }
        let name = escaped(self.program.process.usual_name());
        let pid = self.program.process.pid;
        let page = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{name}: /debug/pprof/</title>\
             </head>\n<body>\n<h1>{name}, pid {pid}</h1>\n<p>Profiles that gospy reads from outside. With \
             <code>?debug=1</code> they are text, without it what <code>go tool pprof</code> reads.</p>\n<table>\n\
             <tr><th>Count</th><th>Profile</th><th></th></tr>\n{rows}</table>\n<p><a href=\"goroutine?debug=2\">all \
             goroutine stacks</a></p>\n</body>\n</html>\n"
        );
        let policy = HeaderValue::from_static("default-src 'none'");
        Ok(Answer::ok(HTML, page.into_bytes()).with(CONTENT_SECURITY_POLICY, policy))
    }
}

fn row(count: &str, name: &str, what: &str) -> String {
    format!("<tr><td>{count}</td><td>{name}</td><td>{what}</td></tr>\n")
}

const fn described(named: Named) -> &'static str {
    match named {
        Named::Allocs => "Where memory was allocated since the start, sampled.",
        Named::Block => "Where goroutines have blocked on locks and channels, sampled.",
        Named::Goroutine => "Stacks of all goroutines.",
        Named::Goroutineleak => "Goroutines that can never wake: the heap is walked twice for it, which takes a while.",
        Named::Heap => "Where memory that is in use was allocated, sampled.",
        Named::Mutex => "Where locks were unlocked that others waited for, sampled.",
        Named::Threadcreate => "Where threads were created.",
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
