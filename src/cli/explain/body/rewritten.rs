//! JSON that something parsed and wrote again: the spellings of the same value that the sender may have signed.

use std::collections::HashSet;

use super::change::{Change, Changes};
use super::digest;
use super::json::{self, ESCAPES, Escapes, Features, Json, LAYOUTS, Layout, Numbers, Order, RAW};
use super::text::BOM;
use crate::cli::explain::hypothesis::{Case, Cause};

const FIX: &str = "Verify the body as received, before anything parses it: find the proxy or framework that writes the JSON again.";

/// The number of layouts that are likely.
const LIKELY_LAYOUTS: usize = 5;

/// The spellings of a JSON body.
pub(super) fn changes(case: Case<'_>) -> Changes<'_> {
    let body = &case.request.body[..];
    let body = body.strip_prefix(BOM).unwrap_or(body);
    let parsed = std::str::from_utf8(body).ok().and_then(whole);
    let Some(json) = parsed else {
        return Box::new(std::iter::empty());
    };
    let nested = nested(&json, body);
    let spellings =
        spellings(&json).map(|(detail, body)| Change::new(Cause::JsonRewritten, detail, FIX, body));
    Box::new(nested.into_iter().chain(spellings))
}

/// The value of a text that is all JSON.
pub(super) fn whole(text: &str) -> Option<Json> {
    let (json, end) = json::parse(text)?;
    text.get(end..)?.trim_ascii().is_empty().then_some(json)
}

/// JSON within a JSON string, in both directions.
fn nested(json: &Json, body: &[u8]) -> Vec<Change> {
    let cause = Cause::JsonRewritten;
    let mut changes = Vec::new();
    if let Json::Text(text) = json {
        let detail = "The sender signed the text within the JSON string.";
        changes.push(Change::new(
            cause,
            detail,
            FIX,
            text.value.clone().into_bytes(),
        ));
    } else if let Ok(text) = std::str::from_utf8(body) {
        let quoted = serde_json::Value::from(text).to_string();
        let detail = "The sender signed the body as one JSON string.";
        changes.push(Change::new(cause, detail, FIX, quoted.into_bytes()));
    }
    changes
}

/// Each spelling of a value with its description, likeliest first.
pub(super) fn spellings(json: &Json) -> impl Iterator<Item = (String, Vec<u8>)> + use<> {
    let named = trees(json, json.features());
    let count = named.len();
    let escapes = distinct(ESCAPES, |escapes| {
        spell_plainly(json, escapes, Numbers::Received)
    });
    let numbers = distinct(&Numbers::ALL, |numbers| spell_plainly(json, RAW, *numbers));
    // Of two choices, the likelier one varies faster.
    let choices = escapes.into_iter().flat_map(move |escapes| {
        numbers.clone().into_iter().flat_map(move |numbers| {
            let plain = LAYOUTS.iter().copied();
            let layouts = plain.chain(LAYOUTS.iter().map(|layout| layout.ended()));
            let layouts = layouts.enumerate();
            layouts.map(move |(rank, layout)| (rank, layout, escapes, *numbers))
        })
    });
    let choices = choices.flat_map(move |(rank, layout, escapes, numbers)| {
        let orders = 0..count;
        orders.map(move |order| {
            let is_likely = rank < LIKELY_LAYOUTS && order < 2 && numbers == Numbers::Received;
            (is_likely, layout, escapes, numbers, order)
        })
    });
    // A search in a large body ends early, so all likely spellings precede the others.
    let likely = choices.clone().filter(|(is_likely, ..)| *is_likely);
    let others = choices.filter(|(is_likely, ..)| !is_likely);
    likely
        .chain(others)
        .filter_map(move |(_, layout, escapes, numbers, order)| {
            let (order, tree) = named.get(order)?;
            let detail = describe(layout, escapes, numbers, order);
            Some((detail, tree.spell(layout, escapes, numbers)))
        })
}

fn spell_plainly(json: &Json, escapes: &Escapes, numbers: Numbers) -> Vec<u8> {
    match LAYOUTS.first() {
        Some(layout) => json.spell(*layout, escapes, numbers),
        None => Vec::new(),
    }
}

/// The choices that make different bytes.
fn distinct<T>(choices: &'static [T], spell: impl Fn(&T) -> Vec<u8>) -> Vec<&'static T> {
    let mut seen = HashSet::new();
    let mut kept: Vec<_> = choices.iter().collect();
    kept.retain(|choice| seen.insert(digest(&spell(choice), &[])));
    kept
}

/// The tree in each order, without and with duplicate fields.
fn trees(json: &Json, features: Features) -> Vec<(String, Json)> {
    let mut trees: Vec<(String, Json)> = Vec::new();
    let mut add = |name: String, tree: Json| {
        if !trees.iter().any(|(_, known)| *known == tree) {
            trees.push((name, tree));
        }
    };
    for order in Order::ALL {
        add(order.name().to_owned(), json.ordered(order));
    }
    if features.has_duplicates {
        let unique = json.without_duplicates();
        for order in Order::ALL {
            let name = format!("{}, without duplicate fields", order.name());
            add(name, unique.ordered(order));
        }
    }
    trees
}

fn describe(layout: Layout, escapes: &Escapes, numbers: Numbers, order: &str) -> String {
    format!(
        "The sender signed the JSON {}{}{order}{}.",
        layout.name(),
        escapes.writer,
        numbers.name(),
    )
}

/// The limits of the search in this body.
pub(super) fn limits(body: &[u8]) -> Vec<&'static str> {
    let body = body.strip_prefix(BOM).unwrap_or(body);
    let Some(json) = std::str::from_utf8(body).ok().and_then(whole) else {
        return Vec::new();
    };
    let features = json.features();
    let mut limits = Vec::new();
    if features.has_order && !features.is_unsorted {
        limits.push("The fields of the JSON are sorted: if something sorted them, their first order is lost.");
    }
    if features.has_big_integers || features.has_fractions {
        limits.push("If something rounded a number of the JSON or wrote it in another way, its first digits are lost.");
    }
    limits
}
