//! The configuration's JSON Schema: made of what the readers ask for, with the words of the pages.

use std::collections::BTreeMap;
use std::env::VarError;
use std::fs;

use serde_json::{Map, Value, json};
use webhook_guard::config::SchemaItem;
use webhook_guard::policy::Policy;

use crate::readme::{link_free, page};
use crate::support::VARIABLES;

const SCHEMA: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/envoy/webhook-guard.schema.json"
);

/// Configurations with every field, in every form that it may have.
fn all_there_is() -> Vec<Value> {
    let secret = json!({"version": "v1", "env": "SECRET"});
    let signature = json!({
        "header": "X-S", "repeat": true, "separator": ",", "positional": true,
        "format": ["t={timestamp}", "{signature}"], "message": "{id}{timestamp}{body}",
        "algorithm": "hmac-sha256", "encoding": "hex", "key": "utf8",
        "timestamp": {"unit": "s", "tolerance": "5m"},
        "id": {"header": ["X-A", "X-B"], "optional": true}, "key_id": {"query": "a"}, "require": {"x-v": "1"},
        "body_hash": {"query": "h", "encoding": "hex", "optional": true}, "url_hash": {"claim": "u"},
        "claims": {"iss": "x"}, "signed_headers": "X-L", "json_in_form": "f", "body": "unsigned",
        "identity": "id", "unsigned_query": ["q"], "empty_answers": true,
        "challenge": {
            "method": "GET", "signed": true, "when": {"json": "/a", "is": "b"},
            "verify_token": {"query": "c"}, "text": {"form": "d"}, "reply": "{challenge}", "json": true,
            "headers": {"x-a": "{challenge}"}, "status": 200,
        },
    });
    let endpoint = json!({
        "name": "a", "match": {"path": "/a", "prefix": "/b/", "host": "c"}, "provider": "meta",
        "id": {"json": "/id", "optional": true}, "identity": "id", "public_url": "https://x", "tolerance": "5m",
        "replay": {"window": "10m", "lease": "20s", "max_memory_bytes": 65536, "status": 409}, "allow": ["192.0.2.1"],
        "allow_from": [{"cluster": "c", "authority": "a", "path": "/p", "pointer": "/l", "refresh": "1h", "max_age": "2h"}],
        "client_address": "direct", "methods": ["POST"], "query": ["a"], "max_body_bytes": 1, "mode": "enforce",
        "answer_challenges": true, "decompressed": true, "verify_token": {"env": "SECRET", "value": "x"},
        "secrets": [{
            "version": "v1", "env": "SECRET", "value": "x", "not_before": "2026-01-01T00:00:00Z",
            "not_after": "2027-01-01T00:00:00Z", "revoked": true, "environment": "test", "key_id": "k", "sender": "s",
        }],
    });
    let mut configurations = vec![json!({
        "environment": "test", "unmatched": "deny", "public_url": "https://x", "max_held_bytes": 134217728,
        "health_check": {"path": "/healthz"}, "log": {"accepted": "debug"},
        "upstream_headers": ["endpoint"], "filter_states": ["endpoint"],
        "endpoints": [endpoint],
    })];
    let mut own = |signature: Value| {
        let endpoint = json!({
            "name": "b", "match": {"path": "/b"}, "client_address": {"filter_state": "k"},
            "signature": signature, "secrets": [secret], "query": "any",
        });
        configurations.push(json!({"endpoints": [endpoint]}));
    };
    let mut list = signature.clone();
    list["challenge"] = json!([signature["challenge"], {"signed": "optional"}]);
    own(signature);
    let tolerance = json!({"past": "8h", "future": "5m"});
    own(json!({"header": "X-S", "timestamp": {"tolerance": tolerance}}));
    own(list);
    own(json!({"header": "X-S", "message": ["{body}"], "algorithm": ["hmac-sha1"]}));
    // Each place that a value may have, in each block that names places.
    let places = [
        ("header", json!("X-S")),
        ("header", json!(["X-S"])),
        ("query", json!("a")),
        ("form", json!("a")),
        ("json", json!("/a")),
        ("claim", json!("a")),
    ];
    let sources = places.map(|(place, value)| json!({place: value}));
    for source in &sources {
        let mut signature = source.clone();
        for field in ["timestamp", "id", "key_id", "body_hash", "url_hash"] {
            signature[field] = source.clone();
        }
        signature["key"] = json!(["utf8"]);
        signature["challenge"] =
            json!({"signed": "optional", "when": source, "verify_token": source, "text": source});
        let mut condition = source.clone();
        condition["is"] = json!("b");
        for when in [condition.clone(), json!([condition])] {
            signature["challenge"]["when"] = when;
            let mut list = signature.clone();
            own(signature.clone());
            list["challenge"] = json!([list["challenge"]]);
            own(list);
        }
    }
    for source in sources {
        configurations.push(json!({"endpoints": [{"id": source, "secrets": [secret]}]}));
    }
    // A secret has only one of these sources.
    let live = json!({"filter_state": "webhook.orders"});
    for source in [json!({"env": "SECRET"}), json!({"value": "x"}), live] {
        let mut secret = source.clone();
        secret["version"] = json!("v1");
        configurations.push(json!({"environment": "test", "endpoints": [{
            "name": "c", "match": {"path": "/c"}, "provider": "meta", "answer_challenges": true,
            "verify_token": source, "secrets": [secret],
        }]}));
    }
    for tolerance in [json!("5m"), tolerance] {
        configurations.push(json!({"endpoints": [{"provider": "slack", "tolerance": tolerance}]}));
    }
    configurations.push(json!({"endpoints": [{"match": {"prefix": "/b/"}}]}));
    configurations.push(json!({"unmatched": {"pass": ["/app/"]}, "endpoints": []}));
    configurations
}

/// The fields and values that the readers ask for, by path.
fn asked() -> BTreeMap<String, Vec<SchemaItem>> {
    let variable = |name: &str| {
        let known = VARIABLES.iter().find(|(variable, _)| *variable == name);
        known
            .map(|(_, value)| (*value).to_owned())
            .ok_or(VarError::NotPresent)
    };
    let mut all: BTreeMap<String, Vec<SchemaItem>> = BTreeMap::new();
    for configuration in all_there_is() {
        for (path, asked) in Policy::schema_items(configuration.to_string().as_bytes(), &variable) {
            let known = all.entry(path).or_default();
            if !known.contains(&asked) {
                known.push(asked);
            }
        }
    }
    all
}

/// The schema of the value at `path`.
fn schema(all: &BTreeMap<String, Vec<SchemaItem>>, path: &str) -> Value {
    let asked = all
        .get(path)
        .unwrap_or_else(|| panic!("{path}: no example has it"));
    let is_choice = asked
        .iter()
        .any(|asked| matches!(asked, SchemaItem::Choice(_)));
    let mut forms: Vec<Value> = asked
        .iter()
        // A choice is asked for as a text first.
        .filter(|asked| !(is_choice && **asked == SchemaItem::Text))
        .map(|asked| match asked {
            SchemaItem::Object(fields, required) => object(all, path, fields, required),
            SchemaItem::Map => {
                json!({"type": "object", "additionalProperties": schema(all, &format!("{path}.*"))})
            }
            SchemaItem::List => {
                json!({"type": "array", "items": schema(all, &format!("{path}[]"))})
            }
            SchemaItem::Text => json!({"type": "string"}),
            SchemaItem::Choice(words) => json!({"enum": words}),
            SchemaItem::Boolean => json!({"type": "boolean"}),
            SchemaItem::Integer(max) => json!({"type": "integer", "minimum": 0, "maximum": max}),
        })
        .collect();
    match forms.len() {
        1 => forms.remove(0),
        _ => json!({"anyOf": forms}),
    }
}

fn object(
    all: &BTreeMap<String, Vec<SchemaItem>>,
    path: &str,
    fields: &[&'static str],
    required: &[&'static str],
) -> Value {
    let mut properties = Map::new();
    for field in fields {
        let at = if path.is_empty() {
            (*field).to_owned()
        } else {
            format!("{path}.{field}")
        };
        let mut property = schema(all, &at);
        if let Some(text) = description(&at) {
            property["description"] = json!(text);
        }
        properties.insert((*field).to_owned(), property);
    }
    let mut object = json!({
        "type": "object", "additionalProperties": false, "properties": properties,
    });
    if !required.is_empty() {
        object["required"] = json!(required);
    }
    object
}

/// The meaning of a field on its page, as plain text.
fn description(path: &str) -> Option<String> {
    const SCHEME: &str = "src/scheme/README.md";
    const REFERENCE: &str = "envoy/configuration.md";
    // An item of a list has the fields of a single block.
    let path = &path
        .replace("challenge[]", "challenge")
        .replace("when[]", "when");
    let places = [
        (
            "endpoints[].signature.challenge.",
            SCHEME,
            "field of `challenge`",
        ),
        ("endpoints[].signature.", SCHEME, "field of `signature`"),
        ("endpoints[].replay.", REFERENCE, "field of `replay`"),
        (
            "endpoints[].allow_from[].",
            REFERENCE,
            "field of `allow_from`",
        ),
        ("", REFERENCE, "field"),
    ];
    let (file, heading, name) = places
        .into_iter()
        .find_map(|(prefix, file, heading)| Some((file, heading, path.strip_prefix(prefix)?)))?;
    let text = page(file);
    let row = text
        .lines()
        .skip_while(|line| !line.starts_with(&format!("| {heading} |")))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .find(|line| {
            let names = line.split('|').nth(1).unwrap();
            let mut names = names.split('`').skip(1).step_by(2);
            names.any(|each| each.split(": ").next() == Some(name))
        })?;
    let cells: Vec<&str> = row.split('|').map(str::trim).collect();
    let meaning = link_free(cells[3]).replace('`', "");
    match cells[2] {
        "" => Some(meaning),
        default => Some(format!("{meaning} Default: {}.", default.replace('`', ""))),
    }
}

fn made() -> String {
    let mut schema = schema(&asked(), "");
    schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    schema["title"] = json!("The configuration of webhook-guard");
    serde_json::to_string_pretty(&schema).unwrap() + "\n"
}

#[test]
fn the_schema_is_made_of_what_the_readers_ask_for() {
    let made = made();
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        fs::write(SCHEMA, made).unwrap();
        return;
    }
    let written = fs::read_to_string(SCHEMA).unwrap();
    assert!(written == made, "run `make generate`");
}

#[test]
fn the_pages_say_of_every_field_what_it_means() {
    for (path, asked) in asked() {
        for asked in asked {
            let SchemaItem::Object(fields, _) = asked else {
                continue;
            };
            let is_explained = [
                "",
                "endpoints[]",
                "endpoints[].replay",
                "endpoints[].allow_from[]",
                "endpoints[].signature",
                "endpoints[].signature.challenge",
            ];
            if !is_explained.contains(&path.as_str()) {
                continue;
            }
            for field in fields {
                let at = if path.is_empty() {
                    field.to_owned()
                } else {
                    format!("{path}.{field}")
                };
                // All places are read alike, but a claim cannot hold a signature.
                let is_known = description(&at).is_some() || at == "endpoints[].signature.claim";
                assert!(is_known, "{at} is missing on its page");
            }
        }
    }
}

#[test]
fn a_fault_about_a_field_in_the_wrong_block_names_its_block() {
    let blocks: Vec<(String, Vec<&str>)> = asked()
        .into_iter()
        .flat_map(|(path, asked)| asked.into_iter().map(move |asked| (path.clone(), asked)))
        .filter_map(|(path, asked)| match asked {
            SchemaItem::Object(fields, _) => Some((path, fields)),
            _ => None,
        })
        .collect();
    let mut moved = 0;
    for field in blocks.iter().flat_map(|(_, fields)| fields) {
        let text = json!({"endpoints": [{"client_address": {*field: 1}}]}).to_string();
        let faults = Policy::read(text.as_bytes(), &|_| Err(VarError::NotPresent)).unwrap_err();
        let place = format!("endpoints[0].client_address.{field}");
        let fault = faults.iter().find(|fault| fault.path == place);
        let block =
            fault.and_then(|fault| fault.message.strip_prefix("unknown field: move it to "));
        let Some(block) = block else {
            continue;
        };
        moved += 1;
        let block = block.trim_matches('`');
        let block = if block == "the top level" { "" } else { block };
        let is_there =
            |(path, fields): &(String, Vec<&str>)| path == block && fields.contains(field);
        assert!(
            blocks.iter().any(is_there),
            "{field} is not a field of {block:?}"
        );
    }
    assert!(moved > 30, "only {moved} fields name their block");
}
