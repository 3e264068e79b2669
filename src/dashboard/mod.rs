//! The operators' pages. What is served here is public and holds no figures: the page asks for the operator
//! token and reads the control plane with it.

use crate::http::{Body, Response};
use crate::isolate::Isolate;
use tollgate_core::failure::Failure;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// How the page says whether a token could open anything.
const OPEN: &str = r#"data-control-plane="open""#;
const CLOSED: &str = r#"data-control-plane="closed""#;

/// Nothing from elsewhere, nothing inline, no frames, and no form that is sent anywhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// Answers `GET /dashboard` and everything below it. Whether a tenant exists is not looked at here: only the
/// control plane tells, and only to operators.
///
/// # Errors
/// If there is no such page.
pub fn get<A>(isolate: &Isolate, path: &str) -> Result<Response<A>, Failure> {
    let below = path.strip_prefix("/dashboard").unwrap_or_default();
    match below.split('/').collect::<Vec<_>>().as_slice() {
        [""] => Ok(page(isolate)),
        ["", tenant] if !tenant.is_empty() => Ok(page(isolate)),
        ["", "assets", "page.css"] => Ok(answer("text/css; charset=utf-8", STYLE.to_owned())),
        ["", "assets", "page.js"] => Ok(answer("text/javascript; charset=utf-8", SCRIPT.to_owned())),
        _ => Err(Failure::NotFound { what: "such path".to_owned() }),
    }
}

fn page<A>(isolate: &Isolate) -> Response<A> {
    let closed = isolate.var("TOLLGATE_ADMIN_TOKEN").is_none();
    answer("text/html; charset=utf-8", if closed { PAGE.replacen(OPEN, CLOSED, 1) } else { PAGE.to_owned() })
}

fn answer<A>(content_type: &str, text: String) -> Response<A> {
    let headers = vec![
        ("content-type", content_type.to_owned()),
        ("content-security-policy", POLICY.to_owned()),
        ("x-content-type-options", "nosniff".to_owned()),
        ("referrer-policy", "no-referrer".to_owned()),
        ("cache-control", "no-store".to_owned()),
    ];
    Response { status: 200, headers, body: Body::Bytes(text.into_bytes()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_can_say_that_the_control_plane_is_closed() {
        assert_eq!(PAGE.matches(OPEN).count(), 1);
    }

    #[test]
    fn nothing_inline_is_needed() {
        for banned in ["<style", "style=", "onclick", "onload", "onerror", "javascript:"] {
            assert!(!PAGE.contains(banned), "{banned}");
        }
        assert_eq!(
            PAGE.matches("<script").count(),
            PAGE.matches("<script type=\"module\" src=\"/dashboard/assets/page.js\"></script>").count()
        );
        for banned in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "localStorage"] {
            assert!(!SCRIPT.contains(banned), "{banned}");
        }
    }

    #[test]
    fn the_policy_is_one_line() {
        assert!(!POLICY.contains('\n') && !POLICY.contains("  "));
    }
}
