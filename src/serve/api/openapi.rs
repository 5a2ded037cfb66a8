//! The API as OpenAPI 3.1: made from the table of routes and the schemas of the documents.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::events;
use super::routes::{Kind, PROCESSES, Parameter, ROUTES, Route};
use crate::report;
use crate::report::json::to_writer;

/// Writes it.
///
/// # Errors
/// Those of `out`.
pub(super) fn write(out: &mut dyn Write) -> io::Result<()> {
    to_writer(out, &document())
}

fn document() -> Value {
    let mut paths = Map::new();
    paths.insert("/api/v1/processes".to_owned(), path_item(&PROCESSES, &[]));
    for (by, about, kind) in [("pid", "Pid of a program", "integer"), ("name", "Name that one program has", "string")] {
        let which = json!({
            "name": by, "in": "path", "required": true, "description": about, "schema": {"type": kind},
        });
        let place = format!("/api/v1/{by}/{{{by}}}");
        for route in ROUTES {
            paths.insert(format!("{place}/{}", route.name), path_item(route, std::slice::from_ref(&which)));
        }
        paths.insert(format!("{place}/events"), events_item(&which));
    }
    let components: Map<String, Value> =
        SCHEMAS.iter().map(|(name, schema)| ((*name).to_owned(), component(name, schema()))).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "gospy",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What gospy reads of Go programs from outside.",
        },
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "paths": paths,
        "components": {"schemas": components},
    })
}

/// A document's name, and its schema.
type Schema = (&'static str, fn() -> schemars::Schema);

const SCHEMAS: &[Schema] = &[
    ("snapshot", report::json::schema),
    ("waits", report::waits::json::waits_schema),
    ("why", report::waits::json::why_schema),
    ("leaks", report::leaks::schema),
    ("heap", report::heap::json::schema),
    ("heap-growth", report::heap::growth::schema),
    ("heap-objects", report::heap::objects_json::schema),
    ("diff", report::diff::schema),
    ("check", report::check::schema),
    ("ps", report::processes::schema),
    ("event", events::schema),
];

/// A schema whose references lead to where it is in the whole document.
fn component(name: &str, schema: schemars::Schema) -> Value {
    let mut value = schema.to_value();
    if let Some(object) = value.as_object_mut() {
        object.remove("$schema");
    }
    relocate(&mut value, &format!("#/components/schemas/{name}/$defs/"));
    value
}

fn relocate(value: &mut Value, to: &str) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                match value {
                    Value::String(text) if key == "$ref" => {
                        if let Some(name) = text.strip_prefix("#/$defs/") {
                            *text = format!("{to}{name}");
                        }
                    }
                    value => relocate(value, to),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| relocate(value, to)),
        _ => {}
    }
}

fn path_item(route: &Route, of_path: &[Value]) -> Value {
    let references = route.documents.iter().map(|name| json!({"$ref": format!("#/components/schemas/{name}")}));
    let mut references: Vec<Value> = references.collect();
    let schema = match references.len() {
        1 => references.remove(0),
        _ => json!({"anyOf": references}),
    };
    let parameters: Vec<Value> =
        of_path.iter().cloned().chain(route.parameters.iter().map(|parameter| parameter.document())).collect();
    json!({"get": {
        "summary": route.about,
        "parameters": parameters,
        "responses": responses("application/json", &schema),
    }})
}

fn events_item(which: &Value) -> Value {
    let rate = json!({
        "name": "rate", "in": "query", "description": "Readings a second, 0.2 to 2; 1 by default",
        "schema": {"type": "number", "minimum": 0.2, "maximum": 2},
    });
    json!({"get": {
        "summary": "Changes as they come, as Server-Sent Events; the data of each is one such object",
        "parameters": [which, rate],
        "responses": responses("text/event-stream", &json!({"$ref": "#/components/schemas/event"})),
    }})
}

fn responses(kind: &str, schema: &Value) -> Value {
    let text = json!({"text/plain": {"schema": {"type": "string"}}});
    json!({
        "200": {"description": "The document", "content": {kind: {"schema": schema}}},
        "400": {"description": "A parameter is not understood, or not to be had over a network", "content": text},
        "404": {"description": "The program is not served, has ended, or does not have what was asked for",
                "content": text},
        "503": {"description": "Too many requests at once", "content": text},
    })
}

impl Parameter {
    fn document(&self) -> Value {
        let schema = match self.kind {
            Kind::Text | Kind::Optional => json!({"type": "string"}),
            Kind::Number => json!({"type": "number"}),
            Kind::Time => json!({"type": "string", "examples": ["10s"]}),
            Kind::Flag => json!({"type": "boolean"}),
        };
        json!({"name": self.name, "in": "query", "description": self.about, "schema": schema})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn references<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
        match value {
            Value::Object(object) => {
                found.extend(object.get("$ref").and_then(Value::as_str));
                object.values().for_each(|value| references(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 100);
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }
}
