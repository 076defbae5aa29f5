//! An axum handler asks for the [`Identity`] as an argument.

use crate::http::{Response, problem};
use crate::verify::Identity;
use axum_core::extract::FromRequestParts;
use hyper::http::request::Parts;

/// What an [`AuthorizeLayer`](crate::AuthorizeLayer) before the route has found. Where none stands there, nobody is let
/// through: 500, and the log says why.
///
/// ```
/// use keywheel_edge::Identity;
///
/// async fn hello(whose: Identity) -> String {
///     format!("hello {} of {}", whose.client(), whose.tenant())
/// }
/// # let _: axum::Router = axum::Router::new().route("/hello", axum::routing::get(hello));
/// ```
impl<S: Send + Sync> FromRequestParts<S> for Identity {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Response> {
        parts.extensions.get::<Identity>().cloned().ok_or_else(|| {
            tracing::error!("a route asks for an identity and no AuthorizeLayer stands before it");
            problem::unguarded()
        })
    }
}
