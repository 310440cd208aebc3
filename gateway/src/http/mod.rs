//! The REST API: one function per call, each documented where it is answered.

mod actions;
mod audit;
mod authority;
mod call;
mod decisions;
mod document;
mod exports;
mod extract;
mod follow;
mod guard;
mod health;
mod host;
mod inference;
mod modules;
mod once;
mod page;
mod proposals;
mod provider_types;
mod providers;
mod publishers;
mod pushes;
mod replicas;
mod rollouts;
mod runtimes;
mod sandboxes;
mod sessions;
mod shadows;
mod signing;
mod streams;
mod supervisor;
mod tagged;
mod users;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::{ApiError, ApiResult, refuse};
use crate::gateway::Gateway;
use call::Guarded;
pub(crate) use guard::Peer;

/// Longest time until a response begins. Streams may then last.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(180);

#[derive(utoipa::OpenApi)]
#[openapi(
    info(title = "OpenShell gateway", description = "Sandboxes, policies, credentials and inference backends. \
        Every error is `application/problem+json` with a stable `code` and, where one helps, a `hint`. Lists come in pages: `limit` \
        says how long, and a page's `next` is the `cursor` of the call that goes on. What can be read bears an `ETag`; a PUT with \
        `If-Match` replaces only what its caller has seen. A POST with an `Idempotency-Key` takes effect once."),
    components(schemas(
        openshell_api::Problem,
        openshell_api::stream::StreamRequest,
        openshell_api::stream::StreamControl,
        openshell_api::signature::ModuleSignature,
    )),
    security(("bearer" = [])),
    modifiers(&BearerToken)
)]
struct Document;

struct BearerToken;

impl utoipa::Modify for BearerToken {
    fn modify(&self, document: &mut OpenApi) {
        use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
        let components = document.components.get_or_insert_with(Default::default);
        components.add_security_scheme("bearer", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    }
}

/// Calls by users. Each asks for permission by what it takes (`call`).
fn guarded() -> OpenApiRouter<Guarded> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(health::status))
        .routes(routes!(health::metrics))
        .routes(routes!(users::whoami))
        .routes(routes!(users::list, users::create))
        .routes(routes!(users::get, users::set, users::delete))
        .routes(routes!(users::tokens, users::create_token))
        .routes(routes!(users::revoke_token))
        .routes(routes!(users::get_budgets, users::set_budgets))
        .routes(routes!(audit::list))
        .routes(routes!(audit::head))
        .routes(routes!(modules::list, modules::upload))
        .routes(routes!(modules::get))
        .routes(routes!(modules::component))
        .routes(routes!(pushes::push))
        .routes(routes!(pushes::get_ceiling, pushes::set_ceiling))
        .routes(routes!(sandboxes::list, sandboxes::create))
        .routes(routes!(sandboxes::get, sandboxes::delete))
        .routes(routes!(sandboxes::stop))
        .routes(routes!(sandboxes::start))
        .routes(routes!(sandboxes::verify))
        .routes(routes!(sandboxes::generations))
        .routes(routes!(sandboxes::policies))
        .routes(routes!(sandboxes::rollback))
        .routes(routes!(sandboxes::logs))
        .routes(routes!(streams::open))
        .routes(routes!(decisions::list))
        .routes(routes!(decisions::export))
        .routes(routes!(decisions::get))
        .routes(routes!(exports::list, exports::add))
        .routes(routes!(exports::get, exports::remove))
        .routes(routes!(shadows::list))
        .routes(routes!(shadows::promote))
        .routes(routes!(proposals::list))
        .routes(routes!(proposals::get))
        .routes(routes!(proposals::approve))
        .routes(routes!(proposals::reject))
        .routes(routes!(rollouts::list))
        .routes(routes!(rollouts::get))
        .routes(routes!(rollouts::promote))
        .routes(routes!(rollouts::rollback))
        .routes(routes!(runtimes::list, runtimes::add))
        .routes(routes!(runtimes::get, runtimes::set, runtimes::remove))
        .routes(routes!(publishers::list, publishers::add))
        .routes(routes!(publishers::remove))
        .routes(routes!(providers::list, providers::create))
        .routes(routes!(providers::get, providers::update, providers::delete))
        .routes(routes!(providers::rotate))
        .routes(routes!(authority::get))
        .routes(routes!(authority::turn))
        .routes(routes!(authority::finish))
        .routes(routes!(signing::get))
        .routes(routes!(signing::turn))
        .routes(routes!(signing::finish))
        .routes(routes!(provider_types::list))
        .routes(routes!(provider_types::get, provider_types::set, provider_types::delete))
        .routes(routes!(inference::list, inference::add))
        .routes(routes!(inference::get, inference::set, inference::remove))
        .routes(routes!(inference::test))
        .routes(routes!(inference::usage))
        .routes(routes!(inference::rules, inference::set_rules))
        .routes(routes!(sessions::list, sessions::reset))
}

/// Calls that need no token.
fn open() -> OpenApiRouter<Guarded> {
    OpenApiRouter::new()
        .routes(routes!(health::alive))
        .routes(routes!(health::ready))
        .routes(routes!(health::openapi))
        .routes(routes!(users::discovery))
}

/// The OpenAPI document.
pub fn document() -> serde_json::Value {
    let described = serde_json::to_value(guarded().merge(open()).into_openapi());
    described.map(document::complete).unwrap_or_default()
}

/// Everything the gateway answers.
pub fn router(gateway: Arc<Gateway>) -> Router {
    let (guarded, _) = guarded().split_for_parts();
    let (open, _) = open().split_for_parts();
    Router::new()
        .merge(guarded)
        .merge(open)
        .route("/v1/supervisor", axum::routing::get(supervisor::link))
        .route("/internal/v1/links/{sandbox}", axum::routing::get(replicas::relay))
        .route(crate::replicas::view::PATH, axum::routing::get(replicas::keys))
        .fallback(no_such_path)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(gateway.clone(), once::once))
        .layer(middleware::from_fn(tagged::tagged))
        .layer(middleware::from_fn(in_time))
        .layer(middleware::from_fn_with_state(gateway.clone(), host::pass_on))
        .layer(middleware::from_fn_with_state(gateway.clone(), guard::account))
        .with_state(Guarded::new(gateway))
}

/// What is answered on the socket for supervisors: their link, and nothing else.
pub fn supervisor_router(gateway: Arc<Gateway>) -> Router {
    Router::new()
        .route("/v1/supervisor", axum::routing::get(supervisor::link))
        .fallback(no_such_path)
        .layer(middleware::from_fn_with_state(gateway.clone(), guard::account))
        .with_state(Guarded::new(gateway))
}

async fn in_time(request: Request, next: Next) -> ApiResult<Response> {
    let timeout = || refuse(504, "timeout", format!("no answer within {} s", REQUEST_TIMEOUT.as_secs()));
    tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await.map_err(|_| timeout())
}

async fn no_such_path(request: Request) -> ApiError {
    refuse(404, "no_such_path", format!("there is nothing at {}", request.uri().path()))
        .hint("GET /openapi.json lists every call")
}

async fn method_not_allowed(request: Request) -> ApiError {
    refuse(405, "method_not_allowed", format!("{} is not possible on {}", request.method(), request.uri().path()))
        .hint("GET /openapi.json lists every call")
}

/// Runs a change to its end even if the caller hangs up: half a push helps nobody.
fn to_the_end<T: Send + 'static>(
    change: impl Future<Output = ApiResult<T>> + Send + 'static,
) -> impl Future<Output = ApiResult<T>> {
    // At once, so that what waits for the answer does not hold the change.
    let running = tokio::spawn(change);
    async move { running.await? }
}
