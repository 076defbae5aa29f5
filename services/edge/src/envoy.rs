//! Envoy's external authorization over gRPC: the same question as `/v1/check`, in Envoy's words.

use crate::address::{self, Peer};
use crate::http::admit::{Admission, admit};
use crate::http::check::forwarded;
use crate::http::{App, credential};
use crate::verify::Identity;
use envoy_types::ext_authz::v3::pb::{
    Address, Authorization, AuthorizationServer, CheckRequest, CheckResponse, DeniedHttpResponse,
    HeaderAppendAction, HeaderValue as EnvoyHeader, HeaderValueOption, HttpResponse, HttpStatus,
    OkHttpResponse,
};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::HttpRequest;
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{ListValue, Struct, Value};
use envoy_types::pb::google::rpc;
use http_body_util::BodyExt as _;
use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use hyper_util::service::TowerToHyperService;
use std::collections::BTreeSet;
use std::net::IpAddr;
use tonic::{Code, Status};

const ENDPOINT: &str = "envoy";
const SCOPE: &str = "scope";
/// Envoy's own limit on a request's headers is 60 KiB; it sends them and the path, and a body if told to.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;
const OURS: &str = "x-keywheel-";
/// What upstreams may look for and a client must not forge, whether this answer has it or not.
const NEVER_FORGED: [&str; 2] = ["x-keywheel-retires-at", "x-keywheel-stale-age"];

/// What answers on one connection.
pub type Service = TowerToHyperService<AuthorizationServer<Envoy>>;

/// Answers Envoy at `peer`.
pub fn service(app: App, peer: Peer) -> Service {
    let server = AuthorizationServer::new(Envoy { app, peer });
    TowerToHyperService::new(server.max_decoding_message_size(MESSAGE_BYTES_MAX))
}

/// One Envoy.
#[derive(Clone)]
pub struct Envoy {
    app: App,
    peer: Peer,
}

#[tonic::async_trait]
impl Authorization for Envoy {
    async fn check(
        &self,
        request: tonic::Request<CheckRequest>,
    ) -> Result<tonic::Response<CheckResponse>, Status> {
        let attributes = request.into_inner().attributes.unwrap_or_default();
        let source = attributes.source.and_then(|source| source.address?.address);
        let asked = attributes.request.and_then(|request| request.http);
        let asked = asked.ok_or_else(|| Status::invalid_argument("`attributes.request.http` is missing"))?;
        let headers = headers(&asked);
        let required = attributes.context_extensions.get(SCOPE).map(String::as_str);
        let from = || client(&self.app, self.peer, &headers, source.as_ref());
        let admission = admit(&self.app, ENDPOINT, &headers, required.into_iter(), from);
        Ok(tonic::Response::new(reply(admission, &headers).await))
    }
}

/// The request's headers as HTTP has them. Envoy joins copies by a comma, or with `encode_raw_headers`
/// sends each by itself.
fn headers(asked: &HttpRequest) -> HeaderMap {
    let joined = asked.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let raw = asked.header_map.iter().flat_map(|map| &map.headers).map(|header| {
        let value = if header.raw_value.is_empty() { header.value.as_bytes() } else { &header.raw_value };
        (header.key.as_str(), value)
    });
    let mut headers = HeaderMap::new();
    for (name, value) in joined.chain(raw) {
        // Pseudo headers, such as `:path`, have names that are no header's.
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else { continue };
        // A value that HTTP cannot carry is no key, and must not look like none either.
        let value = HeaderValue::from_bytes(value).unwrap_or(HeaderValue::from_static("?"));
        headers.append(name, value);
    }
    headers
}

/// Envoy tells who is connected to it; what its headers say lies beyond that.
fn client(app: &App, peer: Peer, headers: &HeaderMap, source: Option<&Address>) -> Option<IpAddr> {
    let source = source.and_then(|source| match source {
        Address::SocketAddress(socket) => Some(socket.address.as_str()),
        Address::Pipe(_) | Address::EnvoyInternalAddress(_) => None,
    });
    address::of_client(peer, forwarded(headers).chain(source), &app.trusted_proxies)
}

async fn reply(admission: Admission, asked: &HeaderMap) -> CheckResponse {
    let (head, body) = admission.response.into_parts();
    match &admission.identity {
        Some(identity) => CheckResponse {
            status: Some(status(Code::Ok)),
            dynamic_metadata: Some(metadata(identity)),
            http_response: Some(HttpResponse::OkResponse(OkHttpResponse {
                headers_to_remove: to_remove(asked, &head.headers),
                headers: to_set(head.headers.iter().filter(|(name, _)| name.as_str().starts_with(OURS))),
                ..OkHttpResponse::default()
            })),
        },
        None => {
            let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            CheckResponse {
                status: Some(status(code(head.status))),
                dynamic_metadata: None,
                http_response: Some(HttpResponse::DeniedResponse(DeniedHttpResponse {
                    status: Some(HttpStatus { code: i32::from(head.status.as_u16()) }),
                    headers: to_set(head.headers.iter()),
                    body: String::from_utf8_lossy(&body).into_owned(),
                })),
            }
        }
    }
}

fn status(code: Code) -> rpc::Status {
    rpc::Status { code: code.into(), ..rpc::Status::default() }
}

fn code(status: StatusCode) -> Code {
    match status {
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::FORBIDDEN => Code::PermissionDenied,
        _ => Code::Unavailable,
    }
}

fn to_set<'a>(headers: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>) -> Vec<HeaderValueOption> {
    let set = |(name, value): (&HeaderName, &HeaderValue)| HeaderValueOption {
        header: Some(EnvoyHeader {
            key: name.as_str().to_owned(),
            value: String::from_utf8_lossy(value.as_bytes()).into_owned(),
            ..EnvoyHeader::default()
        }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        keep_empty_value: true,
        ..HeaderValueOption::default()
    };
    headers.map(set).collect()
}

/// The key, and what a client sent under our names that is not overwritten anyway.
fn to_remove(asked: &HeaderMap, set: &HeaderMap) -> Vec<String> {
    let forged = asked.keys().map(HeaderName::as_str).filter(|name| name.starts_with(OURS));
    let forged = forged.chain(NEVER_FORGED).filter(|name| !set.contains_key(*name));
    let mut names: BTreeSet<String> = forged.map(str::to_owned).collect();
    names.insert(credential::X_API_KEY.to_string());
    if credential::is_in_authorization(asked) {
        names.insert(AUTHORIZATION.to_string());
    }
    names.into_iter().collect()
}

fn metadata(identity: &Identity) -> Struct {
    let text = |text: &str| Kind::StringValue(text.to_owned());
    let scopes = identity.scopes().map(|scope| value(text(scope))).collect();
    let fields = [
        ("tenant", text(identity.tenant())),
        ("client", text(identity.client())),
        ("kid", text(identity.kid().as_str())),
        ("version", Kind::NumberValue(f64::from(identity.version.0))),
        ("state", text(identity.state)),
        ("scopes", Kind::ListValue(ListValue { values: scopes })),
    ];
    Struct { fields: fields.into_iter().map(|(name, kind)| (name.to_owned(), value(kind))).collect() }
}

fn value(kind: Kind) -> Value {
    Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests;
