//! Every reason for a verdict, with its status and body, in one table.

/// Declares [`Reason`], [`Denial`] and their one table: a new reason is one row.
macro_rules! reasons {
    (
        without_denial { $($(#[$other_doc:meta])* $other:ident = $other_row:expr;)* }
        denials { $($(#[$doc:meta])* $denial:ident = $row:expr;)* }
    ) => {
        /// Why a request got its verdict: the label in metrics, logs and response code details.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum Reason {
            $($(#[$other_doc])* $other,)*
            $($(#[$doc])* $denial,)*
        }

        /// Why a request is denied, or would be outside `monitor`.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum Denial {
            $($(#[$doc])* $denial,)*
        }

        impl Reason {
            /// Every reason, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$other,)* $(Self::$denial,)*];

            const fn row(self) -> &'static Row {
                match self {
                    $(Self::$other => const { &$other_row },)*
                    $(Self::$denial => Denial::$denial.row(),)*
                }
            }

            /// The denial of this reason.
            #[must_use]
            pub const fn denial(self) -> Option<Denial> {
                match self {
                    $(Self::$other => None,)*
                    $(Self::$denial => Some(Denial::$denial),)*
                }
            }
        }

        impl Denial {
            const fn row(self) -> &'static Row {
                match self {
                    $(Self::$denial => const { &$row },)*
                }
            }
        }

        impl From<Denial> for Reason {
            fn from(denial: Denial) -> Self {
                match denial {
                    $(Denial::$denial => Self::$denial,)*
                }
            }
        }
    };
}

/// A reason's row in the table. By default, endpoints count the reason, and `monitor` lets its request through.
struct Row {
    name: &'static str,
    response: Option<Response>,
    is_monitored: bool,
    with_endpoint: bool,
    without_endpoint: bool,
}

const fn row(name: &'static str) -> Row {
    Row {
        name,
        response: None,
        is_monitored: true,
        with_endpoint: true,
        without_endpoint: false,
    }
}

impl Row {
    /// Answers a denied sender with this status and body.
    const fn answered(mut self, status: u16, body: &'static str) -> Self {
        self.response = Some(Response {
            status,
            body,
            retry_after: None,
        });
        self
    }

    /// Adds a `Retry-After` header to the answer, in seconds.
    const fn retry_after(mut self, seconds: &'static str) -> Self {
        if let Some(response) = &mut self.response {
            response.retry_after = Some(seconds);
        }
        self
    }

    /// Denies the request in `monitor` too, because the guard could not verify it or the request has ended.
    const fn never_let_through(mut self) -> Self {
        self.is_monitored = false;
        self
    }

    /// The outcome of a failed request, at an endpoint of this mode.
    const fn failed_outcome(&self, mode: Mode) -> Outcome {
        match mode {
            Mode::Monitor if self.is_monitored => Outcome::Monitored,
            Mode::Monitor | Mode::Enforce | Mode::Disabled => Outcome::Denied,
        }
    }

    /// Counts the reason for requests without an endpoint too.
    const fn also_without_endpoint(mut self) -> Self {
        self.without_endpoint = true;
        self
    }

    /// Counts the reason only for requests without an endpoint.
    const fn only_without_endpoint(mut self) -> Self {
        self.with_endpoint = false;
        self.without_endpoint = true;
        self
    }
}

reasons! {
    without_denial {
        /// The signature verified with a valid secret, and every other check passed.
        Accepted = row("accepted");
        /// The request is a sender's handshake, and the guard answered it.
        ChallengeAnswered = row("challenge_answered");
        /// No endpoint matched, and `unmatched` lets this path pass.
        Passed = row("passed").only_without_endpoint();
    }
    denials {
        /// The path, or the host, could mean an endpoint to the upstream but not to the guard.
        PathAmbiguous = row("path_ambiguous").answered(400, "Bad request").only_without_endpoint();
        /// No endpoint matched, or an upstream could read the path as another endpoint's.
        Unmatched = row("unmatched").answered(404, "Not found").only_without_endpoint();
        /// The endpoint's mode is `disabled`: the sender must retry.
        EndpointDisabled = row("endpoint_disabled").answered(503, "Unavailable").retry_after("60");
        /// The request is an upgrade or CONNECT: no signature could cover the bytes that follow.
        UpgradeRefused = row("upgrade_refused").answered(400, "Bad request").never_let_through().also_without_endpoint();
        /// The client's address is not in the endpoint's allow list.
        ClientAddressDenied = row("client_address_denied").answered(403, "Forbidden");
        /// The client's address did not arrive in the way that the endpoint's `client_address` names.
        ClientAddressUntrusted = row("client_address_untrusted").answered(403, "Forbidden");
        /// One of the endpoint's published allow lists is not fetched yet, and no other list has the address: the sender
        /// must retry.
        AllowListPending = row("allow_list_pending").answered(503, "Unavailable").retry_after("5");
        /// The method is not among the endpoint's.
        MethodNotAllowed = row("method_not_allowed").answered(405, "Method not allowed");
        /// The query has a parameter that no signature covers and the endpoint's `query` does not name.
        QueryNotSigned = row("query_not_signed").answered(400, "Bad request");
        /// The body is larger than the endpoint's `max_body_bytes`, or its content-length is not a plain number.
        BodyTooLarge = row("body_too_large").answered(413, "Payload too large");
        /// The request has trailers, which no signature covers.
        TrailersRefused = row("trailers_refused").answered(400, "Bad request").never_let_through();
        /// A header that the signature needs is absent.
        SignatureMissing = row("signature_missing").answered(401, "Invalid signature");
        /// The signature does not have the scheme's form.
        SignatureMalformed = row("signature_malformed").answered(401, "Invalid signature");
        /// A header that the signature needs is present more than once.
        SignatureDuplicated = row("signature_duplicated").answered(401, "Invalid signature");
        /// The scheme signs a timestamp, and the request has none.
        TimestampMissing = row("timestamp_missing").answered(401, "Invalid signature");
        /// The timestamp does not have the scheme's form, or is present more than once.
        TimestampMalformed = row("timestamp_malformed").answered(401, "Invalid signature");
        /// The timestamp lies further in the past than the tolerance.
        TimestampExpired = row("timestamp_expired").answered(401, "Invalid signature");
        /// The timestamp lies further in the future than the tolerance.
        TimestampFuture = row("timestamp_future").answered(401, "Invalid signature");
        /// No secret of the endpoint made this signature.
        SignatureInvalid = row("signature_invalid").answered(401, "Invalid signature");
        /// The signature verified, but with a revoked secret: an attacker may use a leaked one.
        SecretRevoked = row("secret_revoked").answered(401, "Invalid signature");
        /// The signature verified, but with a secret past its `not_after`.
        SecretExpired = row("secret_expired").answered(401, "Invalid signature");
        /// The signature verified, but with a secret before its `not_before`.
        SecretNotYetValid = row("secret_not_yet_valid").answered(401, "Invalid signature");
        /// The guard accepted the delivery before, and the upstream took it. If the sender signs ids, the status is
        /// 200, since such a sender retries until it succeeds. An endpoint can set its own status.
        Replayed = row("replayed").answered(409, "Already delivered");
        /// The upstream has not answered the first copy of the delivery yet.
        InFlight = row("in_flight").answered(409, "Already being delivered").retry_after("5");
        /// A call to the host failed, or the host lacks a value that the guard needs.
        HostError = row("host_error").answered(500, "Internal error").never_let_through().also_without_endpoint();
        /// The guard reached a state that its own checks of the configuration exclude: a bug.
        InternalError = row("internal_error").answered(500, "Internal error").never_let_through();
        /// Envoy held the request but never gave the guard its body: `allow_on_headers_stop_iteration` is
        /// not set, or the sender's first byte took too long.
        BodyUnavailable = row("body_unavailable").answered(503, "Internal error").retry_after("5").never_let_through();
        /// The worker holds too many bytes of requests, and this client holds most of them.
        Overloaded = row("overloaded").answered(503, "Overloaded").retry_after("5").never_let_through();
        /// The request ended before its verdict: the sender left, or Envoy answered for the guard.
        Incomplete = row("incomplete").never_let_through().also_without_endpoint();
    }
}

impl Reason {
    /// The reason's name: `signature_invalid`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// The answer to a sender denied for this reason; `None` where the guard sends none.
    #[must_use]
    pub const fn response(self) -> Option<Response> {
        self.row().response
    }

    /// Whether requests that belong to an endpoint can have this reason.
    #[must_use]
    pub const fn is_counted_with_endpoint(self) -> bool {
        self.row().with_endpoint
    }

    /// Whether requests that belong to no endpoint can have this reason.
    #[must_use]
    pub const fn is_counted_without_endpoint(self) -> bool {
        self.row().without_endpoint
    }

    /// The outcome of a request with this reason, at an endpoint of this mode.
    #[must_use]
    pub const fn outcome(self, mode: Mode) -> Outcome {
        match self {
            Self::Accepted => Outcome::Accepted,
            Self::ChallengeAnswered => Outcome::Challenged,
            Self::Passed => Outcome::Passed,
            _ => self.row().failed_outcome(mode),
        }
    }
}

impl Denial {
    /// The outcome of a request with this denial, at an endpoint of this mode.
    #[must_use]
    pub const fn outcome(self, mode: Mode) -> Outcome {
        self.row().failed_outcome(mode)
    }

    /// The answer to a sender that is denied; `None` where the guard sends none.
    #[must_use]
    pub const fn response(self) -> Option<Response> {
        self.row().response
    }
}

/// The answer to a sender that is denied.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The body: one text for all signature failures, so that an attacker learns nothing from it.
    pub body: &'static str,
    /// The `Retry-After` header, in seconds.
    pub retry_after: Option<&'static str>,
}

/// The answer to a handshake.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// The status, 200 or 204.
    pub status: u16,
    /// The body's media type.
    pub content_type: &'static str,
    /// Further headers: their names and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

/// The fate of a request: the `verdict` label.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The request goes upstream as verified.
    Accepted,
    /// The guard answers the request, and nothing goes upstream.
    Denied,
    /// The request goes upstream although it failed: the endpoint's mode is `monitor`.
    Monitored,
    /// The request belongs to no endpoint, and goes upstream without verification.
    Passed,
    /// The request is a handshake, and the guard answers it as the sender expects.
    Challenged,
}

impl Outcome {
    /// The outcome's name: `accepted`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Denied => "denied",
            Self::Monitored => "monitored",
            Self::Passed => "passed",
            Self::Challenged => "challenged",
        }
    }
}

/// An endpoint's treatment of requests that fail.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// Denies them.
    Enforce,
    /// Lets them through and reports them.
    Monitor,
    /// Denies every request with a status on which senders retry.
    Disabled,
}
