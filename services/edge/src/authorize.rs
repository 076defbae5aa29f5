//! A layer that lets nobody through to a service's routes without a good key.

use crate::Verifier;
use crate::address::{Peer, of_client};
use crate::http::Response;
use crate::http::admit::ask;
use crate::http::check::forwarded;
use crate::http::credential::X_API_KEY;
use crate::verify::Identity;
use futures_util::TryFutureExt as _;
use futures_util::future::{Either, MapOk, Ready, ready};
use http_body_util::{Either as Body, Full};
use hyper::body::Bytes;
use hyper::http::Extensions;
use hyper::{Request, header};
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::{Layer, Service};

const ENDPOINT: &str = "layer";

/// Lets a request through only with a key that is good for the required scopes, as `/v1/check` does: the key in
/// `Authorization: Bearer` or `X-API-Key`, in one place, once. The inner service finds the [`Identity`] in the
/// request's extensions. Others are refused with the same status, headers and problem document as an edge's.
///
/// Layers may stand in one another, to demand more before some routes; a request counts as one use.
///
/// ```no_run
/// use axum::{Router, extract::ConnectInfo, routing::{get, post}};
/// use keywheel_edge::{AuthorizeLayer, Identity, Verifier};
/// use std::net::SocketAddr;
///
/// # fn routes(verifier: &Verifier) -> Router {
/// let key = AuthorizeLayer::new(verifier)
///     .require("read")
///     .peer(|extensions| extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip()));
///
/// Router::new()
///     .route("/notes", get(async |whose: Identity| whose.client().to_owned()))
///     .route("/notes", post(async || "written").layer(key.clone().require("write")))
///     .layer(key)
/// # }
/// ```
#[derive(Clone)]
pub struct AuthorizeLayer {
    verifier: Verifier,
    required: Arc<Vec<String>>,
    peer: PeerOf,
}

/// Finds the address of a connection in a request's extensions.
pub type PeerOf = fn(&Extensions) -> Option<IpAddr>;

impl AuthorizeLayer {
    /// Any good key.
    pub fn new(verifier: &Verifier) -> Self {
        Self { verifier: verifier.clone(), required: Arc::default(), peer: |_| None }
    }

    /// And with this scope.
    #[must_use]
    pub fn require(mut self, scope: &str) -> Self {
        Arc::make_mut(&mut self.required).push(scope.to_owned());
        self
    }

    /// Who is connected. Without it keys that are bound to addresses are refused. `X-Forwarded-For` is believed only
    /// from an address in `http.trusted_proxies`.
    #[must_use]
    pub fn peer(mut self, peer: PeerOf) -> Self {
        self.peer = peer;
        self
    }

    fn admit<B>(&self, request: &Request<B>) -> Result<Identity, Box<Response>> {
        let app = self.verifier.app();
        let (headers, extensions) = (request.headers(), request.extensions());
        let from = || {
            let peer = (self.peer)(extensions)?;
            of_client(Peer::At(peer), forwarded(headers), &app.trusted_proxies)
        };
        // Nothing but an outer layer can have put one there; that one has counted.
        let is_counted = extensions.get::<Identity>().is_some();
        let required = self.required.iter().map(String::as_str);
        let admission = ask(app, ENDPOINT, headers, required, from, is_counted);
        admission.identity.ok_or_else(|| Box::new(admission.response))
    }
}

impl<S> Layer<S> for AuthorizeLayer {
    type Service = Authorize<S>;

    fn layer(&self, inner: S) -> Authorize<S> {
        Authorize { layer: self.clone(), inner }
    }
}

/// A service behind an [`AuthorizeLayer`].
#[derive(Clone)]
pub struct Authorize<S> {
    layer: AuthorizeLayer,
    inner: S,
}

type Answer<R> = hyper::Response<Body<Full<Bytes>, R>>;
type Asked<F, R> = MapOk<F, fn(hyper::Response<R>) -> Answer<R>>;

impl<S, B, R> Service<Request<B>> for Authorize<S>
where
    S: Service<Request<B>, Response = hyper::Response<R>>,
{
    type Response = Answer<R>;
    type Error = S::Error;
    type Future = Either<Ready<Result<Answer<R>, S::Error>>, Asked<S::Future, R>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match self.layer.admit(&request) {
            Ok(identity) => {
                request.extensions_mut().insert(identity);
                hide_key(&mut request);
                Either::Right(self.inner.call(request).map_ok(|response| response.map(Body::Right)))
            }
            Err(response) => Either::Left(ready(Ok(response.map(Body::Left)))),
        }
    }
}

/// Whoever prints the headers does not print the key.
fn hide_key<B>(request: &mut Request<B>) {
    for name in [header::AUTHORIZATION, X_API_KEY] {
        if let Some(value) = request.headers_mut().get_mut(name) {
            value.set_sensitive(true);
        }
    }
}
