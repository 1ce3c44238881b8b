//! Users of the dashboard: `[dashboard]`.

use super::management::DefaultSecret;

/// `dashboard.*`.
#[derive(Debug, Clone)]
pub(crate) struct DashboardConfig {
    /// `dashboard.default_user.login`.
    pub(crate) login: String,
    /// `dashboard.default_user.password`.
    pub(crate) password: DefaultSecret,
}

impl Default for DashboardConfig {
    fn default() -> Self {
        Self { login: "admin".into(), password: DefaultSecret("public".into()) }
    }
}

/// Checks the name of a user.
///
/// # Errors
/// It cannot be sent in HTTP's Basic authentication.
pub(crate) fn check_login(login: &str) -> Result<(), String> {
    let fits = (1..=256).contains(&login.len());
    if fits && !login.chars().any(|c| c == ':' || c.is_control()) {
        return Ok(());
    }
    Err("is empty, too long, or has a colon or a control character".into())
}
