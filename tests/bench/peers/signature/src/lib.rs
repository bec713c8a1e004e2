//! A filter that verifies a signature, and nothing else: HMAC-SHA-256 over the body, as hex in one header.
//!
//! The guard cannot cost less than this filter, because the guard needs the same callbacks, the header and the body.

use hmac::{Hmac, KeyInit, Mac};
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel};
use sha2::Sha256;

const HEADER: &str = "x-webhook-signature";

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Warn);
    proxy_wasm::set_root_context(|_| Box::new(Root { keyed: None }));
}}

/// Holds the key, which is expanded once.
struct Root {
    keyed: Option<Hmac<Sha256>>,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _: usize) -> bool {
        let secret = self.get_plugin_configuration();
        self.keyed = secret.and_then(|secret| Hmac::new_from_slice(&secret).ok());
        self.keyed.is_some()
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        let hmac = self.keyed.clone()?;
        Some(Box::new(Filter {
            hmac,
            signature: [0; 32],
        }))
    }
}

struct Filter {
    hmac: Hmac<Sha256>,
    signature: [u8; 32],
}

impl Context for Filter {}

impl HttpContext for Filter {
    fn on_http_request_headers(&mut self, _: usize, is_end: bool) -> Action {
        let value = self.get_http_request_header_bytes(HEADER);
        let read = value.map(|value| hex::decode_to_slice(value, &mut self.signature));
        if !matches!(read, Some(Ok(()))) {
            return self.deny();
        }
        if is_end {
            self.judge(&[])
        } else {
            Action::Pause
        }
    }

    fn on_http_request_body(&mut self, size: usize, is_end: bool) -> Action {
        if !is_end {
            return Action::Pause;
        }
        let body = self.get_http_request_body(0, size).unwrap_or_default();
        self.judge(&body)
    }

    fn on_http_request_trailers(&mut self, _: usize) -> Action {
        let body = self
            .get_http_request_body(0, usize::MAX)
            .unwrap_or_default();
        self.judge(&body)
    }
}

impl Filter {
    /// Compares in constant time.
    fn judge(&self, body: &[u8]) -> Action {
        let computed = self.hmac.clone().chain_update(body);
        match computed.verify_slice(&self.signature) {
            Ok(()) => Action::Continue,
            Err(_) => self.deny(),
        }
    }

    fn deny(&self) -> Action {
        self.send_http_response(401, vec![], Some(b"Invalid signature\n"));
        Action::Pause
    }
}
