//! The identity of each preset's deliveries, and the reason for it in the preset's file.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::readme::page;
use crate::vectors::presets;

const PRESETS: &str = "src/providers/README.md";

/// The identity of a block's deliveries, as the guard derives it.
fn identity(signature: &Value) -> &str {
    let has_time = signature["timestamp"].is_object()
        || signature["format"].to_string().contains("{timestamp}");
    match (&signature["identity"], &signature["id"]) {
        (Value::String(identity), _) => identity,
        (_, Value::Object(_)) => "id",
        _ if has_time => "message",
        _ => "none",
    }
}

/// A preset without a reason signs an id in the head, or neither an id nor a time. Such a preset needs no review.
#[test]
fn every_preset_that_may_take_two_deliveries_for_one_says_why_it_does_not() {
    for (name, preset) in presets() {
        let signature = &preset["signature"];
        let is_reviewed = identity(signature) == "message"
            || signature["identity"].is_string()
            || signature["id"]["optional"] == true;
        assert_eq!(preset["copies"].is_string(), is_reviewed, "{name}");
    }
}

fn table() -> String {
    let mut table = String::from("| provider | `identity` | why |\n|---|---|---|\n");
    for (name, preset) in presets() {
        if let Some(why) = preset["copies"].as_str() {
            table += &format!("| {name} | {} | {why} |\n", identity(&preset["signature"]));
        }
    }
    table
}

#[test]
fn the_readme_has_the_reasons_of_all_presets() {
    const BEGIN: &str = "makes the next table -->\n";
    const END: &str = "<!-- end of copies -->";
    let text = page(PRESETS);
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (written, after) = rest.split_once(END).unwrap();
    let made = table();
    if std::env::var_os("UPDATE_README").is_some() {
        let text = format!("{before}{BEGIN}{made}{END}{after}");
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(PRESETS);
        fs::write(file, text).unwrap();
        return;
    }
    assert!(written == made, "run UPDATE_README=1 cargo test readme");
}
