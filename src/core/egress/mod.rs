//! Where requests may go.
//!
//! A base URL is read here and nowhere else, by a grammar much smaller than the one that browsers and
//! `fetch` follow: what is accepted means the same to every reader, so no second reader can be led to
//! another host. The text that is kept is the canonical one, and it is what is fetched.
//!
//! ```text
//! base    = scheme "://" host [ ":" port ] *( "/" segment )
//! host    = label *( "." label )          labels of letters, digits and inner hyphens
//! segment = 1*( letter / digit / "-" / "." / "_" / "~" ), not "." and not ".."
//! ```
//!
//! Operators may name any host. Tenants may not name what is likely to stand in the operator's own
//! network: see [`BaseUrl::tenant`]. A name says nothing about where it points, and its owner can
//! point it anywhere at any time. So these rules keep out mistakes and known tricks; what must not be
//! reached at all has to be kept unreachable by the network of the host that runs this.

mod fill;
mod names;
#[cfg(test)]
mod tests;

use std::fmt;

/// Most bytes of a base URL: longer than any provider's, short enough to show in an error.
pub const MAX_URL: usize = 1_024;
/// Most bytes of a host name, and of one of its labels (RFC 1035, 2.3.4).
const MAX_HOST: usize = 253;
const MAX_LABEL: usize = 63;
/// Ports that tenants may name. Others are no provider's, and would make the gateway a port scanner.
const TENANT_PORTS: [u16; 2] = [443, 8443];

/// An address that requests may be sent to, in its canonical form: lower-case host, no default port,
/// no slash at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    text: String,
    host: String,
    port: u16,
}

/// Why an address is refused, or cannot be made. Its text is a sentence without a full stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// Longer than [`MAX_URL`] bytes.
    TooLong,
    /// Neither `https://` nor `http://` in lower case.
    Scheme,
    /// A character that has no place in a base URL.
    Character(char),
    /// A host name, or a label in it, that is empty, too long or oddly hyphenated.
    Host,
    /// A port that is no number from 1 to 65535 in plain digits.
    Port,
    /// A path with an empty segment, `.` or `..`, or a slash at the end.
    Path,
    /// `http`, and the operator has not listed this `host:port`.
    PlainHttp(String),
    /// A number in a form that readers understand differently.
    OddAddress,
    /// A tenant's address is not `https`.
    TenantPlainHttp,
    /// A tenant's address names a port that tenants may not use.
    TenantPort(u16),
    /// A tenant's address is a number, or hides one in a name.
    TenantAddress,
    /// A tenant's address is a name that means something else in each network. The part that tells.
    TenantName(&'static str),
    /// A tenant's address is a name without a dot.
    TenantSingleLabel,
    /// `{` and `}` do not enclose a variable's name.
    Template,
    /// A variable of the template has no value.
    Unset(String),
    /// A variable of the template has a value that could change the host.
    Value(String),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::TooLong => write!(f, "it is longer than {MAX_URL} bytes"),
            Why::Scheme => f.write_str("it must start with https://"),
            Why::Character(c) => write!(f, "{c:?} has no place in a base URL: host, port and path are written in plain letters"),
            Why::Host => {
                f.write_str("its host is no plain name: labels of 1 to 63 letters, digits and inner hyphens, with single dots between")
            }
            Why::Port => f.write_str("its port is no number from 1 to 65535"),
            Why::Path => f.write_str("its path has an empty segment, `.` or `..`, or a slash at the end"),
            Why::PlainHttp(authority) => {
                write!(f, "plain http is for hosts that TOLLGATE_PLAIN_HTTP_HOSTS lists, and `{authority}` is not in it")
            }
            Why::OddAddress => f.write_str("its host is a number, but not four plain decimals such as 192.0.2.1"),
            Why::TenantPlainHttp => f.write_str("a tenant's address must start with https://"),
            Why::TenantPort(port) => write!(f, "port {port} is not open to tenants: 443 and 8443 are"),
            Why::TenantAddress => f.write_str("a tenant's address must be a name: numbers are refused in every form"),
            Why::TenantName(part) => write!(f, "names of `{part}` are refused: they lead into private networks"),
            Why::TenantSingleLabel => f.write_str("a name without a dot leads into private networks"),
            Why::Template => f.write_str("`{` and `}` must enclose the name of a variable in upper case"),
            Why::Unset(name) => write!(f, "the variable {name} is not set"),
            Why::Value(name) => write!(f, "the variable {name} may hold 1 to 63 letters, digits and hyphens, nothing else"),
        }
    }
}

impl BaseUrl {
    /// An operator's address: any host on `https`, or on `http` where `plain_http_hosts` (`host:port`
    /// values, separated by commas) lists it exactly. IPv4 addresses only as four plain decimals; no
    /// IPv6 addresses; international names not at all, because `xn--` names need tables to be checked.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn operator(text: &str, plain_http_hosts: &str) -> Result<BaseUrl, Why> {
        let (secure, url) = BaseUrl::read(text)?;
        if names::is_number(&url.host) && !names::is_plain_ipv4(&url.host) {
            return Err(Why::OddAddress);
        }
        let authority = format!("{}:{}", url.host, url.port);
        if !secure && !plain_http_hosts.split(',').any(|listed| listed.trim().eq_ignore_ascii_case(&authority)) {
            return Err(Why::PlainHttp(authority));
        }
        Ok(url)
    }

    /// A tenant's address: `https` on port 443 or 8443, and a public name. Refused are addresses in
    /// numbers of every form that `fetch` understands (`127.1`, `0x7f.1`, `2130706433`), names without
    /// a dot, names that are local by standard or custom, and names of services that turn a name into
    /// the address written in it.
    ///
    /// Names under `workers.dev` are allowed: providers live there. A gateway that is pointed at itself
    /// is stopped by the header that it sends, not here.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn tenant(text: &str) -> Result<BaseUrl, Why> {
        let (secure, url) = BaseUrl::read(text)?;
        if !secure {
            return Err(Why::TenantPlainHttp);
        }
        names::public(&url.host)?;
        if TENANT_PORTS.contains(&url.port) { Ok(url) } else { Err(Why::TenantPort(url.port)) }
    }

    /// The grammar; whether it is https.
    fn read(text: &str) -> Result<(bool, BaseUrl), Why> {
        if text.len() > MAX_URL {
            return Err(Why::TooLong);
        }
        let (secure, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return Err(Why::Scheme),
        };
        let fits = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~' | ':' | '/');
        if let Some(wrong) = rest.chars().find(|c| !fits(c)) {
            return Err(Why::Character(wrong));
        }
        let (authority, path) = rest.find('/').and_then(|at| rest.split_at_checked(at)).unwrap_or((rest, ""));
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        };
        let host = host.to_ascii_lowercase();
        if !is_host(&host) {
            return Err(Why::Host);
        }
        let usual = if secure { 443 } else { 80 };
        let port = port.map_or(Ok(usual), |digits| read_port(digits).ok_or(Why::Port))?;
        if !is_path(path) {
            return Err(Why::Path);
        }
        let scheme = if secure { "https" } else { "http" };
        let text = if port == usual { format!("{scheme}://{host}{path}") } else { format!("{scheme}://{host}:{port}{path}") };
        Ok((secure, BaseUrl { text, host, port }))
    }

    /// The host, in lower case.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, also where it is the scheme's own.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The whole, without a slash at the end.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The address of `path` below it. One slash stands between them, so nothing in `path` can move
    /// the host; that it stays below the base is up to who makes it (`dialect` encodes its segments).
    pub fn join(&self, path: &str) -> String {
        let slash = if path.is_empty() || path.starts_with('/') { "" } else { "/" };
        format!("{}{slash}{path}", self.text)
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Labels of lower-case letters, digits and inner hyphens. Not `xn--`: what such a label stands for, and
/// whether it stands for anything, takes Unicode's tables to tell.
fn is_host(host: &str) -> bool {
    let label = |label: &str| {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let hyphens = label.starts_with('-') || label.ends_with('-') || label.starts_with("xn--");
        (1..=MAX_LABEL).contains(&label.len()) && !hyphens && label.bytes().all(plain)
    };
    host.len() <= MAX_HOST && host.split('.').all(label)
}

/// Whether a path, joined to an address, leads to a place below it and nowhere else.
pub fn is_below(path: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~' | '/');
    path.len() <= MAX_URL && path.chars().all(fits) && is_path(path)
}

fn read_port(digits: &str) -> Option<u16> {
    let plain = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    digits.parse().ok().filter(|_| plain)
}

/// Nothing, or segments with a slash before each.
fn is_path(path: &str) -> bool {
    let segment = |s: &str| !s.is_empty() && s != "." && s != ".." && !s.contains(':');
    path.strip_prefix('/').map_or(path.is_empty(), |segments| segments.split('/').all(segment))
}
