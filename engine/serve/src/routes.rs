//! The paths of the server and what they answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::time::{timeout, timeout_at};

use crate::fault::Fault;
use crate::telemetry::Telemetry;
use crate::workers::Workers;

const PATHS: [&str; 6] = ["/predict", "/schema", "/openapi.json", "/health", "/ready", "/metrics"];
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// As good as no limit; the clock cannot count much further.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What every request may use.
pub(crate) struct App {
    pub name: String,
    pub workers: Workers,
    pub telemetry: Telemetry,
    pub schemas: Value,
    pub openapi: Value,
    pub max_body_bytes: usize,
    pub timeout: Duration,
    pub stopping: AtomicBool,
}

/// The server's paths.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/predict", post(predict))
        .route("/schema", get(schema))
        .route("/openapi.json", get(openapi))
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .method_not_allowed_fallback(other_method)
        .fallback(other_path)
        .layer(from_fn_with_state(app.clone(), measured))
        .with_state(app)
}

async fn measured(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let route = PATHS.into_iter().find(|path| *path == request.uri().path()).unwrap_or("other");
    let _in_flight = app.telemetry.begin();
    let response = next.run(request).await;
    let seconds = began.elapsed().as_secs_f64();
    app.telemetry.answered(route, response.status().as_u16(), seconds);
    tracing::debug!(route, status = response.status().as_u16(), seconds, "answered");
    response
}

async fn predict(State(app): State<Arc<App>>, request: Request) -> Response {
    match answer(&app, request).await {
        Ok(body) => (StatusCode::OK, [(CONTENT_TYPE, "application/json")], body).into_response(),
        Err(fault) => fault.into_response(),
    }
}

async fn answer(app: &App, request: Request) -> Result<Vec<u8>, Fault> {
    check_content_type(&request)?;
    let deadline = tokio::time::Instant::now() + app.timeout.min(LONGEST);
    let body = body(app, request).await?;
    let answer = app.workers.submit(body)?;
    let late = Fault::Timeout { seconds: app.timeout.as_secs_f64() };
    // Leaving drops the receiver, so that a job still queued is never begun.
    let answer = timeout_at(deadline, answer).await.map_err(|_| late)?;
    let answer = answer.map_err(|_| Fault::Stopping)??;
    app.telemetry.predicted(answer.rows);
    Ok(answer.body)
}

fn check_content_type(request: &Request) -> Result<(), Fault> {
    let given = request.headers().get(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let Some(given) = given else { return Err(Fault::ContentType { found: "of no stated type".to_owned() }) };
    let media = given.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    if media == "application/json" || (media.starts_with("application/") && media.ends_with("+json")) {
        return Ok(());
    }
    Err(Fault::ContentType { found: format!("`{media}`") })
}

async fn body(app: &App, request: Request) -> Result<Vec<u8>, Fault> {
    let limit = app.max_body_bytes;
    let stated = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if stated.is_some_and(|stated| stated > limit as u64) {
        return Err(Fault::TooLarge { limit });
    }
    let slow = Fault::SlowBody { seconds: app.timeout.as_secs_f64() };
    match timeout(app.timeout, to_bytes(request.into_body(), limit)).await {
        Err(_) => Err(slow),
        Ok(Ok(bytes)) => Ok(bytes.into()),
        Ok(Err(error)) => {
            let message = error.to_string();
            // The limit has no type of its own that axum would show.
            if message.contains("length limit") {
                Err(Fault::TooLarge { limit })
            } else {
                Err(Fault::BrokenBody { message })
            }
        }
    }
}

async fn schema(State(app): State<Arc<App>>) -> Response {
    json_response(StatusCode::OK, &app.schemas)
}

async fn openapi(State(app): State<Arc<App>>) -> Response {
    json_response(StatusCode::OK, &app.openapi)
}

async fn health() -> Response {
    json_response(StatusCode::OK, &json!({"status": "alive"}))
}

async fn ready(State(app): State<Arc<App>>) -> Response {
    if app.stopping.load(Ordering::Acquire) {
        return Fault::Stopping.into_response();
    }
    json_response(StatusCode::OK, &json!({"status": "ready", "deployment": app.name}))
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    (StatusCode::OK, [(CONTENT_TYPE, OPEN_METRICS)], app.telemetry.page()).into_response()
}

async fn other_path(request: Request) -> Response {
    Fault::Path { path: request.uri().path().to_owned() }.into_response()
}

async fn other_method(request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let allowed = if path == "/predict" { "POST" } else { "GET, HEAD" };
    let mut response = Fault::Method { method: request.method().to_string(), path }.into_response();
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

fn json_response(status: StatusCode, body: &Value) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], Body::from(body.to_string())).into_response()
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if status.is_server_error() {
            tracing::warn!(status = status.as_u16(), fault = ?self, "not answered");
        }
        let mut response = json_response(status, &self.body());
        if let Some(seconds) = self.retry_after() {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
