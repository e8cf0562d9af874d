//! How much an answer holds that lists things page by page.

use tonic::Status;

/// Entries of a page, when the request names no number.
const DEFAULT_LIMIT: u32 = 100;
/// Most entries of a page, and of a request to do something about some.
pub(super) const LIMIT_MAX: usize = 1000;
/// A page ends with the entry whose body passes this many bytes, so that an answer stays far below gRPC limits.
pub(super) const BYTES: usize = 8 << 20;

/// Entries of the page that is asked for; 0 asks for what is usual.
pub(super) fn limit(asked: u32) -> Result<usize, Status> {
    let limit = if asked == 0 { DEFAULT_LIMIT } else { asked } as usize;
    if limit > LIMIT_MAX {
        return Err(Status::invalid_argument(format!("limit is over {LIMIT_MAX}: ask page by page")));
    }
    Ok(limit)
}
