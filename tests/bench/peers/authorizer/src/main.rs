//! A service for Envoy's ext_authz that verifies a signature: HMAC-SHA-256 over the body, as hex in one header.
//!
//! Arguments: `http` or `grpc`, and the address. One thread serves all connections, as many as Envoy has workers here.

use std::convert::Infallible;
use std::env;
use std::net::SocketAddr;

use envoy_types::ext_authz::v3::CheckResponseExt;
use envoy_types::ext_authz::v3::pb::{
    Authorization, AuthorizationServer, CheckRequest, CheckResponse, HttpStatusCode,
};
use hmac::{Hmac, KeyInit, Mac};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use sha2::Sha256;
use tokio::net::TcpListener;

const HEADER: &str = "x-webhook-signature";

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [protocol, address] = arguments.as_slice() else {
        return Err("usage: authorizer http|grpc ADDRESS".into());
    };
    let hmac = Hmac::new_from_slice(env::var("WEBHOOK_SECRET")?.as_bytes())?;
    let address = address.parse()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match protocol.as_str() {
        "grpc" => runtime.block_on(grpc(address, hmac)),
        _ => tokio::task::LocalSet::new().block_on(&runtime, http(address, hmac)),
    }
}

async fn http(address: SocketAddr, hmac: Hmac<Sha256>) -> Result<(), Failure> {
    let listener = TcpListener::bind(address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let hmac = hmac.clone();
        let service = service_fn(move |request| answer(request, hmac.clone()));
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        tokio::task::spawn_local(connection);
    }
}

async fn answer(
    request: Request<Incoming>,
    mut hmac: Hmac<Sha256>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let (head, mut body) = request.into_parts();
    while let Some(Ok(frame)) = body.frame().await {
        if let Some(data) = frame.data_ref() {
            hmac.update(data);
        }
    }
    let is_genuine = head
        .headers
        .get(HEADER)
        .is_some_and(|value| verify(hmac, value.as_bytes()));
    let mut response = Response::new(Empty::new());
    if !is_genuine {
        *response.status_mut() = StatusCode::UNAUTHORIZED;
    }
    Ok(response)
}

struct Service(Hmac<Sha256>);

async fn grpc(address: SocketAddr, hmac: Hmac<Sha256>) -> Result<(), Failure> {
    let service = AuthorizationServer::new(Service(hmac)).max_decoding_message_size(2 << 20);
    tonic::transport::Server::builder()
        .tcp_nodelay(true)
        .initial_stream_window_size(2 << 20)
        .initial_connection_window_size(16 << 20)
        .add_service(service)
        .serve(address)
        .await?;
    Ok(())
}

#[tonic::async_trait]
impl Authorization for Service {
    async fn check(
        &self,
        request: tonic::Request<CheckRequest>,
    ) -> Result<tonic::Response<CheckResponse>, tonic::Status> {
        let attributes = request
            .into_inner()
            .attributes
            .and_then(|each| each.request);
        let http = attributes.and_then(|each| each.http).unwrap_or_default();
        let hmac = self.0.clone().chain_update(&http.raw_body);
        let is_genuine = http
            .headers
            .get(HEADER)
            .is_some_and(|value| verify(hmac, value.as_bytes()));
        let status = if is_genuine {
            tonic::Status::ok("")
        } else {
            tonic::Status::unauthenticated("")
        };
        let mut response = CheckResponse::with_status(status);
        if !is_genuine {
            let mut denied = envoy_types::ext_authz::v3::DeniedHttpResponseBuilder::new();
            denied.set_http_status(HttpStatusCode::Unauthorized);
            response.set_http_response(denied);
        }
        Ok(tonic::Response::new(response))
    }
}

/// Compares in constant time.
fn verify(hmac: Hmac<Sha256>, value: &[u8]) -> bool {
    hex::decode(value).is_ok_and(|signature| hmac.verify_slice(&signature).is_ok())
}
