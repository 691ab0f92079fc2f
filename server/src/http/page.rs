//! Pages of lists: `?limit=` and `?after=`.

use serde::Deserialize;
use utoipa::IntoParams;

use crate::error::{AppError, AppResult};
use crate::limits;

/// Which page of a list.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Page {
    /// Rows, at most 200.
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

impl Page {
    /// From the fields of a query that says more than the page.
    pub fn new(limit: Option<u32>, after: Option<String>) -> Self {
        Self { limit, after }
    }

    /// Rows to return.
    pub fn limit(&self) -> u32 {
        self.limit.unwrap_or(limits::PAGE_ROWS_DEFAULT).clamp(1, limits::PAGE_ROWS_MAX)
    }

    /// The id after which the page begins.
    pub fn after<T: std::str::FromStr>(&self) -> AppResult<Option<T>> {
        let parsed = self.after.as_deref().map(str::parse).transpose();
        parsed.map_err(|_| AppError::field("after", "this is not the next of a page"))
    }
}
