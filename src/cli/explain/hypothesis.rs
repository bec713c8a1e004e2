//! A mistake that may explain a rejection, and the request without that mistake.

use crate::cli::request::Request;
use crate::policy::endpoint::Endpoint;

/// A mistake, and the request as it would be without the mistake. If that request verifies, the mistake is the cause.
#[derive(Debug)]
pub(super) struct Hypothesis {
    pub(super) cause: Cause,
    /// The mistake, in one sentence. Never contains a secret or a signature.
    pub(super) detail: String,
    /// How to fix it, in one sentence.
    pub(super) fix: String,
    pub(super) request: Request,
}

/// The request to explain, and its endpoint.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case<'a> {
    pub(super) request: &'a Request,
    pub(super) endpoint: &'a Endpoint,
}

/// The causes, in order of likelihood.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Cause {
    TrailingNewline,
    LineEndings,
    ByteOrderMark,
    JsonRewritten,
    Charset,
    ContentEncoding,
    FormDecoded,
    OtherVersion,
    SecretEncoding,
    SecretPrefix,
    SecretLineBreak,
    SignatureEncoding,
    OtherProvider,
    Url,
    TimestampUnit,
    Clock,
    HeaderMissing,
    BodyTruncated,
}

impl Cause {
    /// The name for programs.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::TrailingNewline => "trailing_newline",
            Self::LineEndings => "line_endings",
            Self::ByteOrderMark => "byte_order_mark",
            Self::JsonRewritten => "json_rewritten",
            Self::Charset => "charset",
            Self::ContentEncoding => "content_encoding",
            Self::FormDecoded => "form_decoded",
            Self::OtherVersion => "other_version",
            Self::SecretEncoding => "secret_encoding",
            Self::SecretPrefix => "secret_prefix",
            Self::SecretLineBreak => "secret_line_break",
            Self::SignatureEncoding => "signature_encoding",
            Self::OtherProvider => "other_provider",
            Self::Url => "url",
            Self::TimestampUnit => "timestamp_unit",
            Self::Clock => "clock",
            Self::HeaderMissing => "header_missing",
            Self::BodyTruncated => "body_truncated",
        }
    }
}
