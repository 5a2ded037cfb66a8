//! The JSON Schemas in `schema/` are those of the types, and describe every key.

use gospy::report::{self, json};

fn schemas() -> [(&'static str, serde_json::Value, usize); 16] {
    let value = |schema| serde_json::to_value(schema).unwrap();
    [
        ("snapshot", value(json::schema()), 22),
        ("diff", value(report::diff::schema()), 7),
        ("check", value(report::check::schema()), 7),
        ("capture", value(report::captures::schema()), 1),
        ("doctor", value(report::doctor::schema()), 6),
        ("contention", value(report::contention::json::schema()), 3),
        ("heap", value(report::heap::json::schema()), 7),
        ("heap-growth", value(report::heap::growth::schema()), 4),
        ("heap-since", value(report::heap::since::schema()), 4),
        ("heap-objects", value(report::heap::objects_json::schema()), 10),
        ("leaks", value(report::leaks::schema()), 4),
        ("ps", value(report::processes::schema()), 1),
        ("top", value(gospy::top::stream::schema()), 25),
        ("var", value(report::variables::schema()), 3),
        ("waits", value(report::waits::json::waits_schema()), 6),
        ("why", value(report::waits::json::why_schema()), 9),
    ]
}

#[test]
fn the_schemas_that_are_checked_in_are_those_of_the_types() {
    for (name, schema, _) in schemas() {
        let path = format!("{}/schema/{name}.schema.json", env!("CARGO_MANIFEST_DIR"));
        let checked_in: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert!(
            schema == checked_in,
            "the schema differs: run `cargo run -- schema {name} > schema/{name}.schema.json`"
        );
    }
}

#[test]
fn the_schemas_require_every_key() {
    for (document, schema, least) in schemas() {
        let definitions = schema["$defs"].as_object().unwrap();
        assert!(definitions.len() >= least, "{document}: {:?}", definitions.keys());
        // A line of `top` is one of several things.
        let root = schema.get("oneOf").is_none().then_some((document.to_owned(), &schema));
        let root = root.iter().map(|(name, schema)| (name, *schema));
        for (name, definition) in definitions.iter().chain(root) {
            let properties = definition["properties"].as_object().unwrap_or_else(|| panic!("{name} has no properties"));
            let required: Vec<&str> =
                definition["required"].as_array().unwrap().iter().filter_map(|k| k.as_str()).collect();
            for (key, property) in properties {
                let on_request = (name.as_str(), key.as_str()) == ("Frame", "arguments");
                assert_eq!(required.contains(&key.as_str()), !on_request, "{document}: {name}.{key}");
                let described = property.get("description").is_some() || property.get("$ref").is_some();
                assert!(described, "{document}: {name}.{key} has no description");
            }
        }
    }
}
