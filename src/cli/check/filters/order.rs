//! Filters that must not precede the guard.

use super::chain::{Chain, Filter};
use super::settings::Settings;
use super::values::{get, is_true, mentions};
use crate::cli::check::finding::Finding;
use crate::cli::check::rule::Rule;

const DECOMPRESSOR: &str = "filters.http.decompressor.v3.Decompressor";
const LUA: &str = "filters.http.lua.v3.Lua";

/// Filters that rewrite requests from gRPC or for gRPC.
const TRANSCODERS: [&str; 4] = [
    "filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
    "filters.http.grpc_json_reverse_transcoder.v3.GrpcJsonReverseTranscoder",
    "filters.http.grpc_web.v3.GrpcWeb",
    "filters.http.grpc_http1_reverse_bridge.v3.FilterConfig",
];

const REWRITER: Rule = Rule {
    name: "rewriter-before-guard",
    what: "a filter that changes the body or the path precedes the guard",
    why: "The guard must see the request as the sender signed it. Genuine requests get 401.",
};

const FILE_BUFFER: Rule = Rule {
    name: "file-system-buffer",
    what: "the filter `file_system_buffer`",
    why: "Envoy answers large bodies 413, and a chunked body can end Envoy.",
};

pub(in crate::cli::check) const RULES: &[&Rule] = &[&REWRITER, &FILE_BUFFER];

/// Checks the filters around the guard.
pub(in crate::cli::check) fn check(
    chain: &Chain<'_>,
    settings: Option<&Settings<'_>>,
) -> Vec<Finding> {
    let rewriters = chain
        .before
        .iter()
        .filter(|filter| rewrites(**filter, settings));
    let mut findings: Vec<_> = rewriters
        .map(|filter| {
            REWRITER.at(
                filter.span(),
                format!("the filter `{}` precedes the guard and can change the body or the path, so signatures fail", filter.name()),
                "move the filter behind the gate, or set `decompressed: true` on the endpoints if it is their decompressor",
            )
        })
        .collect();
    let all = chain.before.iter().chain(&chain.after);
    findings.extend(all.filter(|filter| filter.kind().contains("file_system_buffer")).map(|filter| {
        FILE_BUFFER.at(
            filter.span(),
            "`file_system_buffer` answers bodies above its memory limit 413, and a chunked body can end Envoy",
            "remove the filter: the guard itself holds each body",
        )
    }));
    findings
}

fn rewrites(filter: Filter<'_>, settings: Option<&Settings<'_>>) -> bool {
    match filter.kind() {
        DECOMPRESSOR => settings.is_some_and(|settings| {
            let mut endpoints = settings.endpoints().iter();
            match filter.disabled() {
                // A route enables it.
                Some(_) => !endpoints.any(|each| is_true(get(each, "decompressed"))),
                None => !endpoints.all(|each| is_true(get(each, "decompressed"))),
            }
        }),
        LUA => mentions(filter.0, "setBytes") || mentions(filter.0, "\":path\""),
        kind => TRANSCODERS.contains(&kind),
    }
}
