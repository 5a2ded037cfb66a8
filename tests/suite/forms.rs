//! What is shown is decided once: for every capture and many options, the text has the rows and the numbers of
//! the JSON. Text is read as a person reads it, with nothing of the program's own code.

use std::collections::BTreeSet;

use crate::support::gospy_with;
use crate::support::recorded::all;

/// Options that select, group, order and limit.
const OPTIONS: &[&str] = &[
    "",
    "--limit 2",
    "--limit 5",
    "--limit 0",
    "--sort age",
    "--sort function --reverse --limit 3",
    "--sort stack --limit 4",
    "--filter state=waiting",
    "--filter state=waiting --limit 1",
    "--goid 2-4,1",
    "--filter not_system --goid 1-6 --sort reason",
    "--filter func=nobody",
];

/// A quarter of them for each capture, so that four captures have all.
fn of_capture(nth: usize) -> impl Iterator<Item = &'static &'static str> {
    OPTIONS.iter().skip(nth % 4).step_by(4)
}

/// A number as text has it.
fn number(text: &str) -> u64 {
    text.replace(',', "").parse().unwrap_or_else(|_| panic!("{text} is no number"))
}

/// The number before a word: `7` of `… · 7 user · …`; 0 where there is none.
fn before(text: &str, word: &str) -> u64 {
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut numbers =
        words.windows(2).filter(|pair| pair[1] == word).filter_map(|pair| pair[0].replace(',', "").parse().ok());
    numbers.next().unwrap_or(0)
}

fn run(arguments: &str) -> String {
    let words: Vec<String> = arguments.split_whitespace().map(|word| word.replace("not_", "not ")).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let output = gospy_with(&words, |command| {
        command.env("COLUMNS", "400");
    });
    assert!(output.status.success(), "{arguments}: {}", output.stderr);
    output.stdout + &output.stderr
}

fn json(arguments: &str) -> serde_json::Value {
    serde_json::from_str(&run(&format!("{arguments} --json"))).unwrap_or_else(|error| panic!("{arguments}: {error}"))
}

/// One table of a summary.
#[derive(Debug, Default, PartialEq)]
struct Table {
    /// Goroutines, by the title.
    goroutines: u64,
    /// Places, by the title.
    places: u64,
    /// The first column, from above.
    rows: Vec<u64>,
    /// Rows that are hidden, and goroutines in them.
    hidden: (u64, u64),
}

/// The table of a summary that has this title.
fn table(text: &str, title: &str) -> Table {
    let start = format!("  {title} goroutines, ");
    let Some(at) = text.lines().position(|line| line.starts_with(&start)) else { return Table::default() };
    let mut lines = text.lines().skip(at);
    let head = lines.next().unwrap();
    let (goroutines, places) = head[start.len()..].split_once(" in ").unwrap_or((&head[start.len()..], ""));
    let places = places.split_whitespace().next().map_or(0, number);
    let mut table = Table { goroutines: number(goroutines), places, ..Table::default() };
    for line in lines.take_while(|line| !line.is_empty()) {
        let first = line.split_whitespace().next().unwrap();
        match first {
            "…" if line.contains("place") => {
                let places = before(line, "more") + before(line, "places") + before(line, "place");
                let members = before(line, "goroutines") + before(line, "goroutine");
                table.hidden = (places, members);
            }
            "…" => {
                let n = before(line, "more").max(before(line, "goroutines")).max(before(line, "goroutine"));
                table.hidden = (n, n);
            }
            "id" | "count" => {}
            _ if line.contains(" % of ") => {}
            number_of_row => table.rows.push(number(number_of_row)),
        }
    }
    table
}

/// The rows of the document that are user goroutines, or the runtime's own.
fn of_kind<'a>(
    document: &'a serde_json::Value,
    list: &str,
    system: &dyn Fn(u64) -> bool,
) -> Vec<&'a serde_json::Value> {
    let rows = document["goroutines"][list].as_array().unwrap_or_else(|| panic!("no {list}"));
    let id = |row: &serde_json::Value| row["id"].as_u64().or_else(|| row["ids"][0].as_u64()).unwrap();
    rows.iter().filter(|row| system(id(row))).collect()
}

#[test]
fn a_summary_is_the_same_in_text_and_in_json() {
    let mut compared = (0, 0, 0);
    for (nth, recorded) in all().iter().enumerate() {
        let from = format!("summary --from {}", recorded.path());
        let everyone = json(&from);
        let systems: BTreeSet<u64> = everyone["goroutines"]["list"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|goroutine| goroutine["system"] == true)
            .map(|goroutine| goroutine["id"].as_u64().unwrap())
            .collect();
        for options in of_capture(nth) {
            for (form, list, key) in [("--all", "list", "id"), ("--group", "groups", "count")] {
                let arguments = format!("{from} {options} {form}");
                let text = run(&arguments);
                // In JSON, each goroutine is what is listed by default.
                let document = json(&format!("{from} {options} {}", if list == "groups" { form } else { "" }));
                let goroutines = &document["goroutines"];
                let totals = text.lines().find(|line| line.starts_with("Goroutines  ")).unwrap();
                let total = number(totals.split_whitespace().nth(1).unwrap());
                assert_eq!(goroutines["total"], total, "{arguments}");
                assert_eq!(goroutines["user"], before(totals, "user"), "{arguments}");
                assert_eq!(goroutines["system"], before(totals, "system"), "{arguments}");
                let tables = [table(&text, "User"), table(&text, "System")];
                let matching: u64 = tables.iter().map(|table| table.goroutines).sum();
                assert_eq!(goroutines["matching"], matching, "{arguments}");
                let (mut rows, mut hidden) = (0, (0, 0));
                for (table, system) in tables.iter().zip([false, true]) {
                    let listed = of_kind(&document, list, &|id| systems.contains(&id) == system);
                    let listed: Vec<u64> = listed.iter().map(|row| row[key].as_u64().unwrap()).collect();
                    assert_eq!(table.rows, listed, "{arguments}");
                    rows += table.rows.len() as u64;
                    hidden = (hidden.0 + table.hidden.0, hidden.1 + table.hidden.1);
                }
                if list == "groups" {
                    let places: u64 = tables.iter().map(|table| table.places).sum();
                    assert_eq!(goroutines["group_count"], places, "{arguments}");
                    assert_eq!(places, rows + hidden.0, "{arguments}");
                } else {
                    assert_eq!(matching, rows + hidden.1, "{arguments}");
                }
                compared = (compared.0 + 1, compared.1 + rows, compared.2 + hidden.0);
            }
        }
    }
    assert!(compared.0 >= 96 && compared.1 > 300 && compared.2 > 100, "{compared:?} compared");
}

/// Ids as text has them: `18-20 33`.
fn ids(line: &str) -> Vec<u64> {
    let words = line.split_whitespace().filter(|word| !word.starts_with('+'));
    let range = |word: &str| {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        number(first)..=number(last)
    };
    words.flat_map(range).collect()
}

#[test]
fn stacks_are_the_same_in_text_and_in_json() {
    let mut compared = 0;
    for (nth, recorded) in all().iter().enumerate() {
        let from = format!("stack --system --from {}", recorded.path());
        for options in of_capture(nth) {
            let arguments = format!("{from} {options}");
            let text = run(&arguments);
            let heads = text.lines().filter_map(|line| line.strip_prefix("goroutine ")?.split_once(" ["));
            let listed = heads.filter(|(_, rest)| rest.ends_with("]:"));
            let listed: Vec<u64> = listed.map(|(head, _)| number(head.split(' ').next().unwrap())).collect();
            let document = json(&arguments);
            let goroutines = document["goroutines"]["list"].as_array().unwrap();
            let wanted: Vec<u64> = goroutines.iter().map(|goroutine| goroutine["id"].as_u64().unwrap()).collect();
            assert_eq!(listed, wanted, "{arguments}");
            let hidden = text.lines().find(|line| line.contains("--limit 0 shows all"));
            let hidden = hidden.map_or(0, |line| before(line, "more"));
            assert_eq!(document["goroutines"]["matching"], listed.len() as u64 + hidden, "{arguments}");

            let arguments = format!("{arguments} --similar");
            let text = run(&arguments);
            let mut groups = Vec::new();
            let mut lines = text.lines();
            while let Some(line) = lines.next() {
                let Some((head, _)) = line.split_once(" [") else { continue };
                match head.split_once(' ') {
                    Some((count, "goroutines")) => {
                        let ids = ids(lines.next().unwrap().strip_prefix("ids ").unwrap());
                        groups.push((number(count), ids));
                    }
                    Some(("goroutine", rest)) => groups.push((1, vec![number(rest.split(' ').next().unwrap())])),
                    _ => {}
                }
            }
            let document = json(&arguments);
            let wanted = document["goroutines"]["groups"].as_array().unwrap().iter();
            let wanted: Vec<(u64, Vec<u64>)> = wanted
                .map(|group| {
                    let ids = group["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap());
                    (group["count"].as_u64().unwrap(), ids.collect())
                })
                .collect();
            assert_eq!(groups, wanted, "{arguments}");
            compared += listed.len() + groups.len();
        }
    }
    assert!(compared > 300, "{compared} rows compared");
}
