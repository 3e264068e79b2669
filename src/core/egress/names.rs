//! Host names that lead into private networks.

use super::Why;

/// Endings that no public provider has: reserved (RFC 2606, 6761, 6762, 7686, 8375, 9476), set aside by
/// ICANN (`internal`, and `corp`, `home`, `mail`, which are never delegated), or usual in private networks.
const LOCAL_ENDINGS: [&str; 24] = [
    "alt",
    "arpa",
    "consul",
    "corp",
    "domain",
    "example",
    "home",
    "internal",
    "intra",
    "intranet",
    "invalid",
    "lan",
    "local",
    "localdomain",
    "localhost",
    "mail",
    "onion",
    "priv",
    "private",
    "test",
    "workgroup",
    "docker",
    "svc",
    "kube",
];

/// Domains whose servers answer with the address that is written in the name, or with a local one; and
/// public names of metadata services. All names below them are refused too.
const LEADING_INSIDE: [&str; 20] = [
    "1u.ms",
    "backname.io",
    "ip6.name",
    "lacolhost.com",
    "local.gd",
    "localho.st",
    "localtest.me",
    "lvh.me",
    "metadata.packet.net",
    "metadata.platformequinix.com",
    "metadata.tencentyun.com",
    "nip.io",
    "nip.direct",
    "rbndr.us",
    "sslip.io",
    "traefik.me",
    "vcap.me",
    "xip.io",
    "xip.lol",
    "xip.name",
];

/// Whether `fetch` takes the host for an IPv4 address: its last label is decimal, octal or hexadecimal
/// (WHATWG URL, "ends in a number checker").
pub(super) fn is_number(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or_default();
    let hex = last.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
    hex || last.bytes().all(|b| b.is_ascii_digit())
}

/// Whether it is four decimals of at most 255 without leading zeros, the one form that all agree on.
pub(super) fn is_plain_ipv4(host: &str) -> bool {
    let plain = |part: &str| part.parse::<u8>().is_ok_and(|n| n.to_string() == part);
    host.split('.').count() == 4 && host.split('.').all(plain)
}

/// Refuses what is no public name. `host` is in lower case.
pub(super) fn public(host: &str) -> Result<(), Why> {
    if is_number(host) || has_address(host) {
        return Err(Why::TenantAddress);
    }
    let under = |name: &&&str| host.strip_suffix(**name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    if let Some(name) = LOCAL_ENDINGS.iter().chain(&LEADING_INSIDE).find(under) {
        return Err(Why::TenantName(name));
    }
    if host.contains('.') { Ok(()) } else { Err(Why::TenantSingleLabel) }
}

/// Whether four labels in a row are numbers, as in `127.0.0.1.any.name`: no provider's name has that.
fn has_address(host: &str) -> bool {
    let mut row = 0_u8;
    host.split('.').any(|label| {
        row = if label.bytes().all(|b| b.is_ascii_digit()) { row.saturating_add(1) } else { 0 };
        row >= 4
    })
}
