//! The tree and the events for everybody, as files over HTTP (C2SP tlog-tiles): `/log/checkpoint`, `/log/tile/…`.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tagtrail_event_log::tree;
use tagtrail_transparency::tile::{Kind, encode_entries, encode_hashes};
use tagtrail_transparency::{Hashes as _, Tile};
use tokio::sync::Semaphore;

use super::{Audit, AuditError};

/// What a tile holds never changes.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// A checkpoint is followed by another one within a second.
const BRIEFLY: &str = "public, max-age=1";
/// How many bundles of events, of at most 15 MiB each, are put together at the same time.
static TURNS: Semaphore = Semaphore::const_new(4);

/// The routes.
pub(crate) fn routes(audit: Arc<Audit>) -> Router {
    Router::new()
        .route("/log/checkpoint", get(checkpoint))
        .route("/log/tile/{*path}", get(tile))
        .layer(axum::middleware::map_response(uncached))
        .with_state(audit)
}

/// What is not there yet may be there in a second: nobody is to keep that it was not.
async fn uncached(mut response: Response) -> Response {
    if !response.status().is_success() {
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

async fn checkpoint(State(audit): State<Arc<Audit>>) -> Response {
    match audit.newest() {
        Some(signed) => answer("text/plain; charset=utf-8", BRIEFLY, signed.note.clone().into_bytes()),
        None => unsigned(&audit),
    }
}

/// Without a checkpoint there are no tiles either: nobody could tell whether they are right.
fn unsigned(audit: &Audit) -> Response {
    let why = audit.suspended().unwrap_or_else(|| "nothing is signed yet; try again in a moment".into());
    (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response()
}

async fn tile(State(audit): State<Arc<Audit>>, Path(path): Path<String>) -> Response {
    let not_found = |why: String| (StatusCode::NOT_FOUND, format!("{why}\n")).into_response();
    let tile: Tile = match format!("tile/{path}").parse() {
        Ok(tile) => tile,
        Err(error) => return not_found(format!("{error}")),
    };
    let Some(signed) = audit.newest() else { return unsigned(&audit) };
    let size = signed.checkpoint.size();
    if tile.entries().end > size {
        return not_found(format!(
            "the newest checkpoint is over {size} events, and {tile} needs {}",
            tile.entries().end
        ));
    }
    let _turn = TURNS.acquire().await.expect("turns are never ended");
    let read = tokio::task::spawn_blocking(move || audit.tile(&tile)).await;
    match read {
        Ok(Ok(bytes)) => answer("application/octet-stream", FOR_EVER, bytes),
        Ok(Err(error)) => {
            tracing::error!(%error, path, "a tile could not be read");
            (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

impl Audit {
    /// What a tile holds that the tree has.
    fn tile(&self, tile: &Tile) -> Result<Vec<u8>, AuditError> {
        let items = tile.items();
        let count = usize::from(tile.width());
        match tile.kind() {
            Kind::Hashes(level) => {
                let hashes = self.tree.tile_hashes(level, items.start, count);
                Ok(encode_hashes(&hashes.map_err(|error| AuditError::Tree(error.to_string()))?))
            }
            Kind::Entries => {
                let mut entries = Vec::with_capacity(count);
                while entries.len() < count {
                    let next = tree::sequence_of(items.start) + entries.len() as u64;
                    let events = self.log.read(next, count - entries.len(), 1 << 20)?;
                    if events.is_empty() {
                        return Err(AuditError::NotReady);
                    }
                    entries.extend(events.into_iter().map(|event| event.payload));
                }
                encode_entries(&entries).map_err(|error| AuditError::Tree(error.to_string()))
            }
        }
    }
}

fn answer(kind: &'static str, caching: &'static str, bytes: Vec<u8>) -> Response {
    let mut response = bytes.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    response
}
