//! What CONTRIBUTING.md and README.md name is there: files, commands of cargo, tests, options of gospy.

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::gospy;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn read(name: &str) -> String {
    std::fs::read_to_string(Path::new(ROOT).join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What stands between backticks, outside of blocks.
fn quoted(text: &str) -> Vec<&str> {
    let prose: Vec<&str> = text.split("```").step_by(2).collect();
    prose.iter().flat_map(|part| part.split('`').skip(1).step_by(2)).collect()
}

/// The lines of blocks that are typed, without what explains them.
fn typed(text: &str) -> Vec<&str> {
    let blocks = text.split("```").skip(1).step_by(2);
    let lines = blocks.flat_map(str::lines).filter_map(|line| line.strip_prefix("$ "));
    lines.map(|line| line.split("  #").next().unwrap_or(line).trim()).collect()
}

/// All sources below a directory.
fn sources(directory: &Path, out: &mut String) {
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            out.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn files_and_names_in_contributing_exist() {
    let text = read("CONTRIBUTING.md");
    let mut all = String::new();
    for directory in ["src", "tests", "fuzz/src"] {
        sources(&Path::new(ROOT).join(directory), &mut all);
    }
    let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let (mut paths, mut names) = (0, 0);
    for name in quoted(&text).into_iter().chain(links) {
        let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || "_:".contains(c));
        // Made by a build, or a form.
        if name.contains(' ')
            || name.starts_with("--")
            || name.contains("TARGET")
            || matches!(name, ".cache" | "[[bin]]")
        {
            continue;
        }
        if Path::new(ROOT).join(name).exists() {
            paths += 1;
        } else {
            assert!(is_name, "{name} is not there");
            // Code: a type, a function or a constant, `Type::function` by both.
            assert!(name.split("::").all(|part| all.contains(part)), "{name} is not in the sources");
            names += 1;
        }
    }
    assert!(paths > 40 && names > 8, "{paths} paths, {names} names");
}

#[test]
fn commands_in_contributing_and_readme_can_be_typed() {
    let manifest = read("Cargo.toml");
    let targets: BTreeSet<&str> =
        manifest.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"')).collect();
    let mut seen = 0;
    for name in ["CONTRIBUTING.md", "README.md"] {
        let text = read(name);
        for line in typed(&text) {
            let words: Vec<&str> = line.split_whitespace().skip_while(|word| word.contains('=')).collect();
            let words = if words.first() == Some(&"sudo") { &words[1..] } else { &words[..] };
            let after = |option: &str| {
                words.windows(2).filter(|pair| pair[0] == option).map(|pair| pair[1]).collect::<Vec<_>>()
            };
            match words {
                ["cargo", rest @ ..] => {
                    for target in after("--test").iter().chain(&after("--bench")) {
                        assert!(targets.contains(target), "{name}: {line}: there is no {target}");
                    }
                    // A module of tests, `module::`, or `module::more`.
                    let module = rest.iter().find(|word| word.contains("::") && !word.starts_with('-'));
                    if let (Some(module), [test]) = (module, &after("--test")[..])
                        && !rest.contains(&"--lib")
                    {
                        let first = module.split("::").next().unwrap();
                        let file = format!("tests/{test}/{first}.rs");
                        assert!(Path::new(ROOT).join(&file).exists(), "{name}: {line}: there is no {file}");
                    }
                }
                ["gospy", command, rest @ ..] if gospy(&["help", command]).status.success() => {
                    let page = gospy(&[command, "--help"]).ok();
                    for option in rest.iter().filter(|word| word.starts_with("--")) {
                        let option = option.split('=').next().unwrap();
                        assert!(page.contains(option), "{name}: {line}: {option}");
                    }
                }
                ["bash", script, ..] | [script, ..] if script.contains('/') && !script.starts_with("gospy-") => {
                    assert!(Path::new(ROOT).join(script).exists(), "{name}: {line}: there is no {script}");
                }
                _ => continue,
            }
            seen += 1;
        }
    }
    assert!(seen > 25, "{seen}");
}
